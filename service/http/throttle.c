/* SPDX-License-Identifier: Apache-2.0
 *
 * See throttle.h.
 */
#include "service/http/throttle.h"

#include "base/cleanup.h"
#include "service/http/auth.h"

#include <assert.h>
#include <string.h>

/* The bytes by which a peer is known: its kind, then the user or the network. */
static void peer_key(const struct principal *peer, unsigned char key[17])
{
    memset(key, 0, 17);
    if (peer->kind != PRINCIPAL_TCP) {
        key[0] = 1;
        memcpy(key + 1, &peer->uid, sizeof(peer->uid));
        return;
    }
    memcpy(key + 1, &peer->address, IN6_IS_ADDR_V4MAPPED(&peer->address) ? 16 : 8);
}

/* The peer's bucket: its own, a new one, or that of the peer that is full first. */
static struct throttle_bucket *bucket_find_locked(struct throttle *throttle,
                                                  const unsigned char key[17])
{
    struct throttle_bucket *first = throttle->buckets;
    for (size_t i = 0; i < throttle->count; i++) {
        struct throttle_bucket *bucket = &throttle->buckets[i];
        if (memcmp(bucket->peer, key, sizeof(bucket->peer)) == 0)
            return bucket;
        if (bucket->full_at_ms < first->full_at_ms)
            first = bucket;
    }
    if (throttle->count < THROTTLE_PEERS_MAX)
        first = &throttle->buckets[throttle->count++];
    memcpy(first->peer, key, sizeof(first->peer));
    first->full_at_ms = 0;
    return first;
}

unsigned throttle_fail(struct throttle *throttle, const struct principal *peer, uint64_t now_ms)
{
    const uint64_t room_ms = (THROTTLE_BURST - 1) * (uint64_t)THROTTLE_INTERVAL_MS;
    unsigned char key[17];
    peer_key(peer, key);
    LOCK_GUARD(&throttle->lock);
    struct throttle_bucket *bucket = bucket_find_locked(throttle, key);
    if (bucket->full_at_ms < now_ms)
        bucket->full_at_ms = now_ms;
    if (bucket->full_at_ms > now_ms + room_ms)
        return (unsigned)((bucket->full_at_ms - now_ms - room_ms + 999) / 1000);
    bucket->full_at_ms += THROTTLE_INTERVAL_MS;
    assert(bucket->full_at_ms <= now_ms + room_ms + THROTTLE_INTERVAL_MS);
    return 0;
}
