/* SPDX-License-Identifier: Apache-2.0
 *
 * See resizes.h.
 */
#include "service/resizes.h"

#include "service/context.h"
#include "service/events.h"
#include "service/group-runs.h"

/* 1, also if the frozen image is not durable yet, which the group goes on to make it: the overlay
 * is the top for good. */
static int resize_take(struct service *service, const struct group_member *member,
                       uint64_t revision, const struct origin *origin, struct err *err)
{
    const struct group_wait wait = {GROUP_DEADLINE_DEFAULT_MS, GROUP_SETTLE_DEFAULT_MS,
                                    GROUP_WAIT_FOREVER};
    const struct group_row *row;
    const struct snapshot_group_request request = {.is_cut = true,
                                                   .revision = revision,
                                                   .labels = "{}",
                                                   .origin = origin,
                                                   .count = 1,
                                                   .members = member};
    CLEANUP(group_run)
    struct group_run *run = group_run_start(service->group_runs, &request, &wait, err);
    return !run || group_run_await(run, &row, err) == GROUP_AWAITED_FAILED ? -1 : 1;
}

int resize_run(struct service *service, const char *device, uint64_t size_bytes, uint64_t revision,
               const struct origin *origin, struct err *err)
{
    struct device_info info;
    if (size_bytes > DEVICE_SIZE_MAX_BYTES)
        return err_set(err, ErrInvalidValue, 0, "'size_bytes' must be from 1 to 2^53");
    if (block_device_info_known(service->block, device, &info, err) != 0)
        return -1;
    const uint64_t now_bytes = info.size_bytes;
    device_info_clear(&info);
    const struct group_member member = {
        .device = device,
        .size_bytes =
            (size_bytes + BLOCK_SECTOR_BYTES - 1) / BLOCK_SECTOR_BYTES * BLOCK_SECTOR_BYTES,
    };
    if (member.size_bytes == now_bytes)
        return 0;
    if (member.size_bytes < now_bytes)
        return err_set(err, ErrInvalidValue, 0,
                       "device '%s' has %llu bytes, and cannot become smaller", device,
                       (unsigned long long)now_bytes);
    return resize_take(service, &member, revision, origin, err);
}
