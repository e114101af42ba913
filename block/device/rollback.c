/* SPDX-License-Identifier: Apache-2.0
 *
 * See rollback.h.
 */
#include "block/device/rollback.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "block/device/exports.h"
#include "block/image/freeze.h"

#include <assert.h>
#include <string.h>
#include <time.h>

int rollback_disconnect(struct group *group, size_t *failed_member, struct err *err)
{
    const uint64_t until_us = clock_monotonic_us() + ROLLBACK_DISCONNECT_MS * 1000ULL;
    for (size_t i = 0; i < group->count; i++)
        export_hang_up(group->block, group->members[i].device);
    for (size_t i = 0; i < group->count; i++)
        if (export_await_end(group->block, group->members[i].device, until_us, err) != 0) {
            *failed_member = i;
            return -1;
        }
    return 0;
}

void rollback_exchange(struct group *group, uint64_t *cut_at_us)
{
    struct timespec now;
    LOCK_GUARD(&group->block->lock);
    clock_gettime(CLOCK_REALTIME, &now);
    *cut_at_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    for (size_t i = 0; i < group->count; i++) {
        struct member *member = &group->members[i];
        assert(member->device->is_closed && member->device->clients == 0); /* B1 */
        member->frozen = member->overlay;
        member->device->base = NULL; /* in the device's chain from now on */
        device_exchange_chain(member->device, &member->frozen, &member->index);
    }
}

/* Nobody has seen the old chain since the exchange. */
void rollback_finish(struct member *member)
{
    readers_wait(&member->device->readers);
    index_free(steal(member->index));
    int ret = node_freeze(member->frozen);
    if (ret)
        log_warning("frozen image '%s' is not durable: %s", member->frozen->path, strerror(-ret));
}
