/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-create.h.
 */
#include "block/device/group-create.h"

#include "base/parallel.h"
#include "block/device/group-sync.h"

struct staging {
    struct group *group;
    pthread_mutex_t lock; /* guards *err and changes of `failed` */
    atomic_size_t failed; /* the first in list order so far, or SIZE_MAX */
    struct err *err;
};

/* Once a member has failed, no later one is begun. */
static void stage_at(void *context, size_t position)
{
    struct staging *staging = context;
    struct err err;
    if (atomic_load(&staging->failed) < position ||
        member_stage(staging->group, &staging->group->members[position], &err) == 0)
        return;
    LOCK_GUARD(&staging->lock);
    if (position > atomic_load(&staging->failed))
        return;
    atomic_store(&staging->failed, position);
    *staging->err = err;
}

static int group_stage(struct group *group, size_t *failed_member, struct err *err)
{
    struct staging staging = {
        .group = group, .lock = PTHREAD_MUTEX_INITIALIZER, .failed = SIZE_MAX, .err = err};
    parallel_run_yielding(group->count, stage_at, &staging);
    pthread_mutex_destroy(&staging.lock);
    *failed_member = atomic_load(&staging.failed);
    return *failed_member == SIZE_MAX ? 0 : -1;
}

static int group_publish(struct group *group, size_t *failed_member, struct err *err)
{
    for (size_t i = 0; i < group->count; i++)
        if (member_publish(group, &group->members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    return 0;
}

int group_create_overlays(struct group *group, size_t *failed_member, struct err *err)
{
    if (group_stage(group, failed_member, err) != 0 ||
        group_sync_overlays(group, failed_member, err) != 0 ||
        group_publish(group, failed_member, err) != 0)
        return -1;
    return group_sync_directories(group, failed_member, err);
}
