/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction: implements group.h.
 *
 *                  group_begin        group_prepare           group_cut   group_finish_begin
 *     BEGINNING ------------> BEGUN ----------------> PREPARED ------> CUT ------> FINISHING
 *                               |   \ PREPARING, fails    |                           | all are
 *                               +-----------+-------------+-- group_abort             v frozen
 *                                                                \--> ABORTED      FINISHED
 *
 *   begin    for each member in list order: hold its device, check the path of its overlay. Nothing
 *            is created. Begin to look for the images to be frozen and to flush them, side by side.
 *   prepare  create the overlays (group-create.h); wait for the flushes.
 *   cut      arm every overlay; store the epoch (cut.h).
 *   finish   each member by itself (finish.c, and member.h for its states): wait until its old top
 *            has no change in flight (seal); make it durable and read-only (freeze); its device is
 *            released when the caller has recorded that. A failed sync fails the device; any other
 *            error is retried, by the device's flushes too, and the member stays as it is
 *            meanwhile.
 *   abort    remove the overlays that prepare named, and those it staged; sync each directory once.
 *
 * Invariants:
 *   I1. While the overlays are armed and the epoch is stored only memory is touched, nothing can
 *       fail, and no request waits. (No assert: a property of the code.)
 *   I2. The cut of all members is one store (E1 in cut.h). No assert: a property of the code.
 *   I3. A device is held by one group, which names it once, until its member is released: it is in
 *       no second cut before, so at most one layer below its top has changes in flight. No assert:
 *       group-state.c has it.
 *   I4. A frozen file is marked before its writer's claim ends, so it is never opened for writing
 *       in between.
 *
 * One thread runs a group, with others for what is done side by side (parallel.h, finish.h).
 * Devices are held (`holder`) from begin until their member is released.
 */
#include "base/parallel.h"
#include "block/device/finish.h"
#include "block/device/group-create.h"
#include "block/device/group-state.h"
#include "block/device/group-sync.h"
#include "block/device/member.h"
#include "block/device/rollback.h"
#include "block/image/driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- flush ---- */

static void ready_at(void *group, size_t position)
{
    member_ready(group, &((struct group *)group)->members[position]);
}

/* Nobody sees that, so it may run while the caller records the group and overlays are created. */
static void group_begin_flush(struct group *group)
{
    group->is_flushing = true;
    parallel_begin(&group->flushing, group->count, ready_at, group);
}

static void group_end_flush(struct group *group)
{
    if (group->is_flushing)
        parallel_end(&group->flushing);
    group->is_flushing = false;
}

/* All of them, also after one has failed. */
static int group_check_flush(struct group *group, size_t *failed_member, struct err *err)
{
    group_end_flush(group);
    for (size_t i = 0; i < group->count; i++)
        if (member_check_ready(group, &group->members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    return 0;
}

/* ---- begin ---- */

static int group_check_list(const struct group_member *members, size_t count, struct err *err)
{
    if (count == 0)
        return err_set(err, ErrEmptyGroup, 0, "a snapshot group needs at least one device");
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(members[i].device, members[j].device) == 0)
                return err_set(err, ErrDuplicateDevice, 0,
                               "device '%s' is named twice, at positions %zu and %zu",
                               members[i].device, j, i);
    return 0;
}

static struct group *group_new(struct block *block, const struct group_base *base, size_t count,
                               struct err *err)
{
    struct group *group = calloc(1, sizeof(*group) + count * sizeof(group->members[0]));
    if (!group) {
        err_set(err, ErrOutOfResources, ENOMEM, "a group of %zu members cannot be begun", count);
        return NULL;
    }
    group->block = block;
    pthread_mutex_init(&group->finish.lock, NULL);
    pthread_cond_init(&group->finish.changed, NULL);
    group->is_rollback = base != NULL;
    group->disconnects = base && base->disconnects;
    return group;
}

/* Releases the devices that still are the group's, and frees all. */
static void group_drop(struct group *group)
{
    finish_end(group);
    for (size_t i = 0; i < group->count; i++)
        member_free(group, &group->members[i]);
    pthread_cond_destroy(&group->finish.changed);
    pthread_mutex_destroy(&group->finish.lock);
    free(group);
}

static int group_begin_members(struct group *group, const struct group_member *members,
                               size_t count, size_t *failed_member, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        assert((members[i].base != NULL) == group->is_rollback);
        group->members[i].place = (struct image_place)IMAGE_PLACE_INIT;
        group->count = i + 1;
        if (member_begin(group, &group->members[i], &members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    }
    return 0;
}

/* `group` is taken over; NULL: *err says why. */
static struct group *group_begin_new(struct group *group, const unsigned char id[OWNER_ID_BYTES],
                                     const struct group_member *members, size_t count,
                                     size_t *failed_member, struct err *err)
{
    if (!group)
        return NULL;
    memcpy(group->id, id, OWNER_ID_BYTES);
    uuid_unparse_lower(id, group->text);
    if (group_begin_members(group, members, count, failed_member, err) != 0) {
        group_drop(group);
        return NULL;
    }
    if (finish_init(group) != 0) {
        err_set(err, ErrOutOfResources, ENOMEM, "a group of %zu members cannot be begun", count);
        group_drop(group);
        return NULL;
    }
    group_enter_state(group, TRANSACTION_BEGUN);
    group_begin_flush(group);
    return group;
}

struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err)
{
    *failed_member = SIZE_MAX;
    if (group_check_list(members, count, err) != 0)
        return NULL;
    struct group *group = group_new(block, members->base, count, err);
    return group_begin_new(group, id, members, count, failed_member, err);
}

/* ---- plan ---- */

/* Whether the file system has room for the smallest overlay; quotas and later writes are unknown.
 */
static int member_check_space(const struct member *member, struct err *err)
{
    struct statvfs fs;
    if (fstatvfs(member->place.dirfd, &fs) != 0)
        return 0;
    bool is_root = geteuid() == 0; /* who may use the reserved blocks */
    bool is_full = fs.f_blocks > 0 && (is_root ? fs.f_bfree : fs.f_bavail) == 0;
    bool has_no_inode = fs.f_files > 0 && (is_root ? fs.f_ffree : fs.f_favail) == 0;
    return is_full || has_no_inode
               ? err_set(err, ErrOpenFileFailed, ENOSPC, "snapshot_file '%s' cannot be created",
                         member->place.path)
               : 0;
}

static int group_plan_members(struct group *group, const struct group_member *members, size_t count,
                              size_t *failed_member, struct err *err)
{
    if (group_begin_members(group, members, count, failed_member, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (member_check_space(&group->members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    return 0;
}

int group_plan(struct block *block, const struct group_member *members, size_t count,
               int (*each)(void *context, size_t position, const struct group_member_info *info,
                           struct err *err),
               void *context, size_t *failed_member, struct err *err)
{
    *failed_member = SIZE_MAX;
    if (group_check_list(members, count, err) != 0)
        return -1;
    struct group *group = group_new(block, members->base, count, err);
    if (!group)
        return -1;
    group->is_plan = true;
    int ret = group_plan_members(group, members, count, failed_member, err);
    for (size_t i = 0; ret == 0 && i < count; i++) {
        struct group_member_info info;
        group_member_info(group, i, &info);
        ret = each(context, i, &info, err);
    }
    group_drop(group);
    return ret;
}

/* ---- prepare ---- */

/* Once more: the clients of a rollback wrote until they were disconnected. */
static int group_flush(struct group *group, size_t *failed_member, struct err *err)
{
    group_begin_flush(group);
    return group_check_flush(group, failed_member, err);
}

int group_prepare(struct group *group, size_t *failed_member, struct err *err)
{
    group_assert_state(group, TRANSACTION_BEGUN);
    group_enter_state(group, TRANSACTION_PREPARING);
    *failed_member = SIZE_MAX;
    int ret = group_create_overlays(group, failed_member, err);
    if (group_check_flush(group, failed_member, err) != 0 || ret != 0 ||
        (group->disconnects && (rollback_disconnect(group, failed_member, err) != 0 ||
                                group_flush(group, failed_member, err) != 0)))
        return -1;
    group_enter_state(group, TRANSACTION_PREPARED);
    return 0;
}

/* ---- cut: nothing in it can fail ---- */

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void group_store_cut(struct group *group, uint64_t *cut_at_us)
{
    struct cut *cut = &group->block->cut;
    LOCK_GUARD(&cut->lock);
    uint64_t epoch = cut_epoch(cut) + 1;
    for (size_t i = 0; i < group->count; i++) {
        struct member *member = &group->members[i];
        member->frozen = device_arm(member->device, member->overlay, epoch);
    }
    *cut_at_us = clock_us(CLOCK_REALTIME);
    cut_store(cut, epoch);
    LOCK_GUARD(&group->block->lock);
    for (struct member *member = group->members; member < group->members + group->count; member++)
        if (member->room)
            device_grow(member->device, member->room);
}

void group_cut(struct group *group, uint64_t *cut_at_us)
{
    struct member *end = group->members + group->count;
    group_assert_state(group, TRANSACTION_PREPARED);
    if (group->is_rollback)
        rollback_exchange(group, cut_at_us);
    else
        group_store_cut(group, cut_at_us);
    group->cut_us = clock_us(CLOCK_MONOTONIC);
    for (struct member *member = group->members; member < end; member++) {
        assert(member->frozen->claim); /* I4 */
        member_enter_state(member, MEMBER_UNSEALED);
        for (size_t i = 0; i < member->file_count; i++)
            file_table_freeze(group->block->files, steal(member->marks[i]));
    }
    group_enter_state(group, TRANSACTION_CUT);
}

/* ---- the other way ---- */

int group_abort(struct group *group, struct err *err)
{
    int ret = 0;
    assert(group->state >= TRANSACTION_BEGUN && group->state <= TRANSACTION_PREPARED);
    group_assert_state(group, group->state);
    group_end_flush(group);
    for (size_t i = 0; i < group->count; i++)
        if (member_abort(group, &group->members[i], err) != 0)
            ret = -1;
    if (group_sync_removals(group, err) != 0)
        ret = -1;
    group_enter_state(group, TRANSACTION_ABORTED);
    return ret;
}

void group_member_info(struct group *group, size_t position, struct group_member_info *info)
{
    const struct member *member = &group->members[position];
    CLEANUP(node) struct node *top = member->frozen ? NULL : device_top(member->device);
    const struct node *backing = member->frozen ? member->frozen : top;
    LOCK_GUARD(&group->finish.lock);
    *info = (struct group_member_info){
        .backing_file = member->backing_file,
        .backing_format = backing->driver->name,
        .backing_identity = backing->identity.text,
        .size_bytes = backing->size_bytes,
        .snapshot_file = member->place.path,
        .directory_identity = member->directory.text,
        .snapshot_identity =
            member->overlay && member->device ? member->overlay->identity.text : "",
        .frozen_files = member->files,
        .frozen_count = member->file_count,
        .copy_wait_us = member->copy_wait_us,
        .is_frozen = member->state == MEMBER_FROZEN,
        .is_released = member->state == MEMBER_RELEASED,
    };
}

void group_free(struct group *group)
{
    assert(group->state != TRANSACTION_CUT && !group->is_flushing); /* finish or abort came first */
    assert(group->state != TRANSACTION_FINISHING || group->is_stopped);
    group_assert_state(group, group->state);
    group_drop(group);
}
