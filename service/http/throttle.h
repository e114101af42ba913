/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits how often a peer may fail to prove that it may call: a bucket of THROTTLE_BURST failures
 * for each user and each address (of IPv6: each /64, which is what one host has), refilled by one
 * every THROTTLE_INTERVAL_MS. Only failures are counted and limited. Any thread.
 *
 * A bucket is one time: when it will be full again. A full one is as good as none, so the bucket
 * that is full first makes room for a new peer, and memory is bounded.
 */
#ifndef SERVICE_HTTP_THROTTLE_H
#define SERVICE_HTTP_THROTTLE_H

#include "service/http/limits.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define THROTTLE_PEERS_MAX 1024

struct principal;

struct throttle_bucket {
    unsigned char peer[17];
    uint64_t full_at_ms;
};

struct throttle {
    pthread_mutex_t lock;
    size_t count;                                       /* lock */
    struct throttle_bucket buckets[THROTTLE_PEERS_MAX]; /* lock */
};

/* Counts a failure of the peer at `now_ms`, a time that never steps back. 0; else the peer's bucket
 * is empty, nothing was counted, and it has room again after so many seconds. */
unsigned throttle_fail(struct throttle *throttle, const struct principal *peer, uint64_t now_ms);

#endif
