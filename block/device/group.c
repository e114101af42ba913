/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction: implements group.h.
 *
 *                  group_begin        group_prepare           group_cut     group_finish
 *     BEGINNING ------------> BEGUN ----------------> PREPARED ------> CUT ------> FINISHED
 *                               |   \ PREPARING, fails    |
 *                               +-----------+-------------+-- group_abort --> ABORTED
 *
 *   begin    for each member in list order: hold its device, check the path of its overlay. Nothing
 *            is created. Begin to flush the images to be frozen, side by side.
 *   prepare  create the overlays (group-create.h); wait for the flushes.
 *   cut      arm every overlay; store the epoch (cut.h).
 *   finish   for each member, side by side: wait until its old top has no change in flight (seal);
 *            make it durable and read-only. A failed sync fails the device; after any other error
 *            the device's next flush retries.
 *   abort    remove the overlays that prepare named, and those it staged; sync each directory once.
 *
 * Invariants:
 *   I1. While the overlays are armed and the epoch is stored only memory is touched, nothing can
 *       fail, and no request waits. (No assert: a property of the code.)
 *   I2. The cut of all members is one store (E1 in cut.h). No assert: a property of the code.
 *   I3. A device is held by one group, which names it once, until its old top is frozen: it is in
 *       no second cut before, so at most one layer below its top has changes in flight.
 *   I4. A frozen file is marked before its writer's claim ends, so it is never opened for writing
 *       in between.
 *
 * One thread runs a group, with others for what is done side by side (parallel.h). Devices are held
 * (`holder`) from begin to free.
 */
#include "base/parallel.h"
#include "block/device/group-create.h"
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

static void member_assert_state(const struct member *member, enum transaction_state state)
{
    switch (state) {
    case TRANSACTION_BEGINNING:
    case TRANSACTION_BEGUN:
        assert(!member->overlay && !member->is_staged && !member->is_published && !member->frozen);
        break;
    case TRANSACTION_PREPARING:
        assert(!member->frozen);
        break;
    case TRANSACTION_PREPARED:
        assert(member->overlay && member->is_staged && member->is_published && !member->frozen);
        break;
    case TRANSACTION_CUT:
    case TRANSACTION_FINISHED:
        assert(member->overlay && member->frozen);
        assert(member->overlay->backing == (member->base ? member->base : member->frozen));
        break;
    case TRANSACTION_ABORTED:
        assert(!member->overlay && !member->frozen);
        break;
    }
    (void)member;
}

static void group_assert_state(const struct group *group, enum transaction_state state)
{
    assert(group->state == state);
    assert(group->count >= 1 || state == TRANSACTION_BEGINNING);
    for (size_t i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        member_assert_state(member, state);
        assert(state == TRANSACTION_BEGINNING ||
               (member->device && *member->device->holder)); /* I3 */
    }
}

static void group_enter_state(struct group *group, enum transaction_state state)
{
    group->state = state;
    group_assert_state(group, state);
}

/* ---- flush ---- */

static void flush_at(void *group, size_t position)
{
    member_flush(&((struct group *)group)->members[position]);
}

/* Nobody sees that, so it may run while the caller records the group and overlays are created. */
static void group_begin_flush(struct group *group)
{
    group->is_flushing = true;
    parallel_begin(&group->flushing, group->count, flush_at, group);
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
        if (member_check_flush(&group->members[i], err) != 0) {
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

static struct group *group_new(struct block *block, size_t count, struct err *err)
{
    struct group *group = calloc(1, sizeof(*group) + count * sizeof(group->members[0]));
    if (group)
        group->block = block;
    else
        err_set(err, ErrOutOfResources, ENOMEM, "a group of %zu members cannot be begun", count);
    return group;
}

static int group_begin_members(struct group *group, const struct group_member *members,
                               size_t count, size_t *failed_member, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
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
        group_free(group);
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
    return group_begin_new(group_new(block, count, err), id, members, count, failed_member, err);
}

struct group *group_begin_rollback(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                                   const struct group_member *members, size_t count,
                                   bool disconnect, size_t *failed_member, struct err *err)
{
    *failed_member = SIZE_MAX;
    if (group_check_list(members, count, err) != 0)
        return NULL;
    struct group *group = group_new(block, count, err);
    if (group) {
        group->is_rollback = true;
        group->disconnects = disconnect;
    }
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
    struct group *group = group_new(block, count, err);
    if (!group)
        return -1;
    group->is_plan = true;
    int ret = group_plan_members(group, members, count, failed_member, err);
    for (size_t i = 0; ret == 0 && i < count; i++) {
        struct group_member_info info;
        group_member_info(group, i, &info);
        ret = each(context, i, &info, err);
    }
    for (size_t i = 0; i < group->count; i++)
        member_free(group, &group->members[i]);
    free(group);
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

/* ---- cut: nothing below, up to finish, can fail ---- */

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
        for (size_t i = 0; i < member->file_count; i++)
            file_table_freeze(group->block->files, steal(member->marks[i]));
    }
    group_enter_state(group, TRANSACTION_CUT);
}

/* ---- finish ---- */

static void finish_at(void *context, size_t position)
{
    const struct group *group = context;
    struct member *member = &((struct group *)context)->members[position];
    if (group->is_rollback)
        rollback_finish(member);
    else
        member_finish(member);
}

void group_finish(struct group *group, uint64_t *sealed_us)
{
    group_assert_state(group, TRANSACTION_CUT);
    parallel_run(group->count, finish_at, group);
    *sealed_us = clock_us(CLOCK_MONOTONIC) - group->cut_us;
    group_enter_state(group, TRANSACTION_FINISHED);
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

void group_member_info(const struct group *group, size_t position, struct group_member_info *info)
{
    const struct member *member = &group->members[position];
    CLEANUP(node) struct node *top = device_top(member->device);
    const struct node *backing = member->frozen ? member->frozen : top;
    *info = (struct group_member_info){
        .backing_file = member->backing_file,
        .backing_format = backing->driver->name,
        .backing_identity = backing->identity.text,
        .size_bytes = backing->size_bytes,
        .snapshot_file = member->place.path,
        .snapshot_identity = member->overlay ? member->overlay->identity.text : "",
        .frozen_files = member->files,
        .frozen_count = member->file_count,
        .copy_wait_us = member->copy_wait_us,
    };
}

void group_free(struct group *group)
{
    assert(group->state != TRANSACTION_CUT && !group->is_flushing); /* finish or abort came first */
    group_assert_state(group, group->state);
    for (size_t i = 0; i < group->count; i++)
        member_free(group, &group->members[i]);
    free(group);
}
