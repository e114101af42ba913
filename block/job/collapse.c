/* SPDX-License-Identifier: Apache-2.0
 *
 * Collapsing. See block/collapse.h, and block/device/twin.h for the changes of both images.
 *
 *     CLAIMED --(thawed; a twin)--> MIRRORING --collapse_hold--> HELD --collapse_commit--> DONE
 *                                       ^                          |
 *                                       +---- collapse_release ----+
 *
 *   while MIRRORING and HELD     device --> upper (live) --> base (thawed, with a journal)
 *                                  +-----> twin ------------^
 *   DONE                         device --> base (live)
 *
 *   J1. Base has one chain only while it is written: that of the device. No assert: another one is
 *       a reason to try again.
 *   J2. From `is_collapsing` until it is cleared the device stays, with that top: who holds it
 *       waits.
 *   J3. Base takes the place of an upper image only if all of that could be synced: else a read of
 *       it may give older content, and its journal must stay. No assert: only a disk knows.
 */
#include "block/collapse.h"

#include "base/log.h"
#include "block/device/registry.h"
#include "block/image/amend.h"
#include "block/image/freeze.h"
#include "block/image/frozen-attribute.h"
#include "block/job/merge.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { BASE_REFS = 2 }; /* of upper, and of the merge: who describes a chain has one for a while */

enum collapse_state { COLLAPSE_CLAIMED, COLLAPSE_MIRRORING, COLLAPSE_HELD, COLLAPSE_DONE };

struct collapse {
    struct merge *merge;
    struct device *device;
    enum collapse_state state;
    struct twin *twin;  /* while MIRRORING or HELD */
    struct index *heir; /* while HELD */
};

/* ---- the device ---- */

static bool device_is_free_locked(struct device *device)
{
    return device->exported && !device->read_only && !*device->holder && !device->is_collapsing &&
           !index_unsealed(device->index);
}

static bool device_has_top(struct device *device, const struct node *node)
{
    CLEANUP(node) struct node *top = device_top(device);
    return top == node;
}

static struct device *device_find_locked(const struct merge *merge)
{
    struct device *device = merge->block->devices;
    while (device && !device_has_top(device, merge->upper))
        device = device->next;
    return device;
}

static int device_report_failed(const struct device *device, struct err *err)
{
    return err_set(err, ErrDeviceFailed, 0, "device '%s' failed, so its image is not merged",
                   device->name);
}

/* The device whose live top upper is. 0; 1: it is not free; -1 and *err (DeviceFailed). J2. */
static int device_claim(const struct merge *merge, struct device **device, struct err *err)
{
    LOCK_GUARD(&merge->block->lock);
    *device = device_find_locked(merge);
    if (*device && device_has_failed(*device))
        return device_report_failed(*device, err);
    if (!*device || !device_is_free_locked(*device))
        return 1;
    (*device)->is_collapsing = true;
    return 0;
}

static void device_unclaim(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    assert(device->is_collapsing); /* J2 */
    device->is_collapsing = false;
    pthread_cond_broadcast(&block->changed);
}

int collapse_check(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (device && device_has_failed(device))
        return device_report_failed(device, err);
    return !device || !device->newest;
}

bool collapse_is_wanted(const struct collapse *collapse)
{
    LOCK_GUARD(&collapse->merge->block->lock);
    return *collapse->device->holder;
}

static void device_set_twin(struct block *block, struct device *device, struct twin *twin)
{
    pthread_mutex_lock(&block->lock);
    atomic_store(&device->twin, twin);
    pthread_mutex_unlock(&block->lock);
    readers_wait(&device->readers); /* all that go on know it */
}

/* ---- base ---- */

/* Base is thawed, as large as upper, durable, and has a journal. 0; 1: another chain has it; -1. */
static int base_begin(struct merge *merge, struct err *err)
{
    const struct journal_dir *journals = merge->block->journals;
    const int dirfd = journals ? journal_dir_fd(journals) : -1;
    struct node *base = merge->base;
    if (node_thaw(base, dirfd, err) != 0)
        return merge_report_user(merge, err);
    merge->state = MERGE_THAWED;
    node_keep_alone(base);
    if (atomic_load(&base->refs) != BASE_REFS) /* J1 */
        return 1;
    if (base->size_bytes != merge->upper->size_bytes &&
        node_grow(base, merge->upper->size_bytes, err) != 0)
        return -1;
    return merge_flush(merge, err) != 0 ? -1 : node_begin_twin(base, dirfd, err);
}

/* What is to be copied is found. 0; 1: somebody waits for the device; -1 and *err. */
static int collapse_find(struct collapse *collapse, struct err *err)
{
    uint64_t offset = 0;
    int ret = 0;
    while (ret == 0 && !collapse_is_wanted(collapse))
        ret = twin_find(collapse->twin, &offset);
    if (ret < 0)
        return merge_report(collapse->merge, ret, "merged into", err);
    return ret == 0;
}

/* The mirroring begins. As base_begin(). */
static int collapse_start(struct collapse *collapse, struct err *err)
{
    struct merge *merge = collapse->merge;
    int ret = base_begin(merge, err);
    if (ret)
        return ret;
    collapse->twin = twin_new(merge->upper, merge->base);
    if (!collapse->twin)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be merged",
                       merge->upper->path);
    device_set_twin(merge->block, collapse->device, collapse->twin);
    collapse->state = COLLAPSE_MIRRORING;
    return collapse_find(collapse, err);
}

int collapse_begin(struct merge *merge, struct collapse **ret_collapse, struct err *err)
{
    assert(merge->state == MERGE_FROZEN);
    *ret_collapse = NULL;
    if (merge->upper->backing != merge->base ||
        !(atomic_load(&merge->base->read_only) || atomic_load(&merge->base->was_thawed)))
        return 1;
    struct collapse *collapse = calloc(1, sizeof(*collapse));
    if (!collapse)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be merged",
                       merge->upper->path);
    collapse->merge = merge;
    int ret = device_claim(merge, &collapse->device, err);
    if (ret) {
        free(collapse);
        return ret;
    }
    *ret_collapse = collapse;
    return collapse_start(collapse, err);
}

/* ---- copying ---- */

int collapse_copy(struct collapse *collapse, uint64_t *offset_bytes, uint64_t *copied_bytes,
                  struct err *err)
{
    struct merge *merge = collapse->merge;
    int ret;
    assert(collapse->state == COLLAPSE_MIRRORING);
    do {
        if (collapse_is_wanted(collapse))
            return 2;
        (void)twin_make_room(collapse->twin);
        ret = twin_copy(collapse->twin, offset_bytes, copied_bytes);
    } while (ret == NODE_NEEDS_ROOM || (ret == 0 && *copied_bytes == 0));
    if (ret < 0)
        return merge_report(merge, ret, "merged into", err);
    if (ret == 0 && (ret = write_back_pace(&merge->write_back, merge->base, *copied_bytes)) < 0)
        return write_back_report(merge->base, ret, err);
    return ret > 0 && *copied_bytes == 0;
}

int collapse_flush(struct collapse *collapse, struct err *err)
{
    return merge_flush(collapse->merge, err);
}

/* ---- taking the place ---- */

/* J3: what was copied is what clients wrote, unless a sync of upper has failed, or fails now. */
static int upper_flush(struct collapse *collapse, struct err *err)
{
    struct device *device = collapse->device;
    int ret = device_flush(device);
    if (ret && device_has_failed(device))
        return device_report_failed(device, err);
    return ret ? write_back_report(collapse->merge->upper, ret, err) : 0;
}

/* Before the record that it is written again can be durable: else a start would refuse it. */
static int base_unmark(struct node *base, struct err *err)
{
    int ret = 0;
    if (frozen_attribute_is_set(base->fd, &base->identity)) {
        ret = frozen_attribute_clear(base->fd);
        if (ret == 0 && fsync(base->fd) != 0) {
            ret = -errno;
            node_sync_failed(base, -ret);
        }
    }
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be marked as written",
                         base->path)
               : 0;
}

static void collapse_forget_place(struct collapse *collapse)
{
    const struct node *base = collapse->merge->base;
    index_drop_heir(steal(collapse->heir));
    frozen_attribute_set(base->fd, &base->identity);
}

int collapse_hold(struct collapse *collapse, struct err *err)
{
    struct merge *merge = collapse->merge;
    struct block *block = merge->block;
    assert(collapse->state == COLLAPSE_MIRRORING);
    if (upper_flush(collapse, err) != 0 || collapse_flush(collapse, err) != 0)
        return -1;
    if (collapse_is_wanted(collapse))
        return 2;
    collapse->heir = index_new(&block->index_memory, &block->cut, merge->base);
    if (!collapse->heir)
        return err_set(err, ErrOutOfResources, ENOMEM, "the chain of device '%s' stays long",
                       collapse->device->name);
    int ret = base_unmark(merge->base, err);
    if (ret == 0 && (ret = twin_hold(collapse->twin)))
        merge_report(merge, ret, "merged into", err);
    if (ret) {
        collapse_forget_place(collapse);
        return -1;
    }
    collapse->state = COLLAPSE_HELD;
    return 0;
}

void collapse_release(struct collapse *collapse)
{
    assert(collapse->state == COLLAPSE_HELD);
    twin_release(collapse->twin);
    collapse_forget_place(collapse);
    collapse->state = COLLAPSE_MIRRORING;
}

/* No change is between the two images meanwhile. Returns the old index; *top is exchanged. */
static struct index *device_swap(struct collapse *collapse, struct node **top)
{
    struct block *block = collapse->merge->block;
    struct index *index = steal(collapse->heir);
    LOCK_GUARD(&collapse->twin->lock);
    index_watch_top(index);
    pthread_mutex_lock(&block->cut.lock);
    pthread_mutex_lock(&block->lock);
    device_exchange_chain(collapse->device, top, &index);
    pthread_mutex_unlock(&block->lock);
    pthread_mutex_unlock(&block->cut.lock);
    atomic_store(&collapse->twin->state, TWIN_SWAPPED);
    return index;
}

void collapse_commit(struct collapse *collapse)
{
    struct merge *merge = collapse->merge;
    struct device *device = collapse->device;
    struct node *top = node_ref(merge->base);
    assert(collapse->state == COLLAPSE_HELD);
    struct index *old = device_swap(collapse, &top);
    assert(top == merge->upper);    /* J2 */
    readers_wait(&device->readers); /* whose changes were listed for upper */
    device_set_twin(merge->block, device, NULL);
    twin_free(steal(collapse->twin));
    index_free(old);
    node_become_top(merge->base);
    file_table_unfreeze(merge->block->files, &merge->base->identity, merge->base->path);
    node_end_journal(top, true);
    node_unref(top);
    merge->state = MERGE_FROZEN; /* nothing is to be ended */
    collapse->state = COLLAPSE_DONE;
}

int collapse_end(struct collapse *collapse, struct err *err)
{
    struct merge *merge = collapse->merge;
    struct device *device = collapse->device;
    assert(collapse->state != COLLAPSE_HELD);
    if (collapse->twin) {
        device_set_twin(merge->block, device, NULL);
        twin_free(collapse->twin);
    }
    int ret = merge->state == MERGE_THAWED ? merge_end(merge, err) : 0;
    device_unclaim(merge->block, device);
    free(collapse);
    return ret;
}
