/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-gated-steps with -Wl,--wrap for each function below: storage as slow as a
 * test wants, at one step of a group. STEP_GATES in the environment names a directory; a step waits
 * there if it has a file STEP.closed, until that is removed, and creates STEP.reached meanwhile.
 */
#include "block/clone.h"
#include "block/collapse.h"
#include "block/copy.h"
#include "block/device/member.h"
#include "block/group.h"
#include "block/image/amend.h"
#include "block/io.h"
#include "block/merge.h"
#include "service/deletes.h"
#include "store/groups.h"
#include "store/merges.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Whether it was closed. */
static bool pass_gate(const char *step)
{
    const char *directory = getenv("STEP_GATES");
    char closed[PATH_MAX], reached[PATH_MAX];
    if (!directory)
        return false;
    snprintf(closed, sizeof(closed), "%s/%s.closed", directory, step);
    snprintf(reached, sizeof(reached), "%s/%s.reached", directory, step);
    if (access(closed, F_OK) != 0)
        return false;
    const int fd = open(reached, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    const struct timespec pause = {.tv_nsec = 2000000};
    while (access(closed, F_OK) == 0)
        nanosleep(&pause, NULL); /* the fault itself, not a way to wait for something */
    unlink(reached);
    return true;
}

/* "seal-DEVICE": a member's own step, on a thread of its own. */
static const char *seal_step(const struct member *member)
{
    static _Thread_local char step[NAME_MAX - 16];
    snprintf(step, sizeof(step), "seal-%s", member->device->name);
    return step;
}

/* "open-NUMBER": of all that devices open, from the start on. */
static const char *open_step(void)
{
    static atomic_uint count;
    static _Thread_local char step[32];
    snprintf(step, sizeof(step), "open-%u", atomic_fetch_add(&count, 1));
    return step;
}

/* "look-FILE": whether the header of that image has room for another name; it is open meanwhile. */
static const char *look_step(const struct node *node)
{
    static _Thread_local char step[NAME_MAX - 16];
    const char *slash = strrchr(node->path, '/');
    snprintf(step, sizeof(step), "look-%s", slash ? slash + 1 : node->path);
    return step;
}

/* "collapse-DEVICE": before its live top is merged. */
static const char *collapse_step(const char *device)
{
    static _Thread_local char step[NAME_MAX - 16];
    snprintf(step, sizeof(step), "collapse-%s", device);
    return step;
}

/* At "use", who wants to merge images finds once that they are in use. */
struct merge *__real_merge_open(struct block *block, const struct merge_image *base,
                                const struct merge_image *upper, struct err *err);
struct merge *__wrap_merge_open(struct block *block, const struct merge_image *base,
                                const struct merge_image *upper, struct err *err);
struct merge *__wrap_merge_open(struct block *block, const struct merge_image *base,
                                const struct merge_image *upper, struct err *err)
{
    if (!pass_gate("use"))
        return __real_merge_open(block, base, upper, err);
    err_set(err, ErrDeviceInUse, 0, "image '%s' is in use", upper->path);
    return NULL;
}

#define GATE(step, result, name, parameters, arguments)                                            \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        pass_gate(step);                                                                           \
        return __real_##name arguments;                                                            \
    }

GATE("clone", struct clone *, clone_begin,
     (struct block * block, const struct clone_base *base, struct err *err), (block, base, err))
GATE("create", int, clone_create,
     (struct clone * clone, const unsigned char id[OWNER_ID_BYTES], struct err *err),
     (clone, id, err))
GATE(members->size_bytes ? "resize" : "begin", struct group *, group_begin,
     (struct block * block, const unsigned char id[OWNER_ID_BYTES],
      const struct group_member *members, size_t count, size_t *failed, struct err *err),
     (block, id, members, count, failed, err))
GATE("insert", int, store_group_insert,
     (struct store_transaction * transaction, const struct group_row *row, struct err *err),
     (transaction, row, err))
GATE("prepare", int, group_prepare, (struct group * group, size_t *failed, struct err *err),
     (group, failed, err))
GATE("abort", int, group_abort, (struct group * group, struct err *err), (group, err))
GATE("committing", int, store_group_update_committing,
     (struct store_transaction * transaction, const struct group_row *row, struct err *err),
     (transaction, row, err))
GATE("cut", void, group_cut, (struct group * group, uint64_t *cut_at_us), (group, cut_at_us))
GATE("finish", void, group_finish_begin, (struct group * group), (group))
GATE(seal_step(member), uint64_t, member_seal, (struct member * member), (member))
GATE("committed", int, store_group_update_committed,
     (struct store_transaction * transaction, const struct group_row *row, struct err *err),
     (transaction, row, err))
GATE(row->stage == MERGE_DONE ? "merged" : "merging", int, store_merge_update_stage,
     (struct store_transaction * transaction, const struct merge_row *row, struct err *err),
     (transaction, row, err))
GATE("collapsed", int, store_merge_collapse,
     (struct store_transaction * transaction, const struct merge_row *row, struct err *err),
     (transaction, row, err))
GATE("info", int, block_device_info,
     (struct block * block, const char *name, struct device_info *info, struct err *err),
     (block, name, info, err))
GATE(open_step(), int, block_device_open,
     (struct block * block, const struct device_spec *spec, struct err *err), (block, spec, err))
GATE("remove", int, block_device_remove,
     (struct block * block, const char *name, const unsigned char id[OWNER_ID_BYTES],
      struct err *err),
     (block, name, id, err))
GATE("await", bool, block_image_await,
     (struct block * block, const char *path, unsigned timeout_ms), (block, path, timeout_ms))
GATE(look_step(node), int, node_can_set_backing,
     (struct node * node, const char *name, const char *format, struct err *err),
     (node, name, format, err))
GATE("copied", int, copy_finish, (struct copy * copy, struct err *err), (copy, err))
GATE("pushed", int, merge_flush, (struct merge * merge, struct err *err), (merge, err))
GATE("flush", int, device_flush, (struct device * device), (device))
GATE("replan", int, delete_replan,
     (struct service * service, const char *image, const struct origin *origin, struct err *err),
     (service, image, origin, err))
GATE(collapse_step(device), int, collapse_check,
     (struct block * block, const char *device, struct err *err), (block, device, err))
