/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing devices. See block.h.
 */
#include "block/device/exports.h"
#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/device/retry.h"
#include "block/image/drivers.h"
#include "block/image/journal-recovery.h"
#include "block/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int block_device_open(struct block *block, const struct device_spec *spec, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    CLEANUP_OPENING struct opening opening = OPENING_OF(block);
    struct node *top = opener_open_chain(&opening, device, spec, err);
    if (!top) {
        registry_drop(block, device);
        return -1;
    }
    pthread_mutex_lock(&block->lock);
    int ret = device_set_top(device, top, &block->index_memory, &block->cut);
    device->overlay_shape = driver_overlay_shape(spec->overlay, top->size_bytes);
    pthread_mutex_unlock(&block->lock);
    if (ret == 0)
        return 0;
    opening_end(&opening);
    node_give_up(top);
    registry_drop(block, device);
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
}

bool block_device_call_off(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device || device->exported || *device->holder)
        return false;
    atomic_store(&device->is_unwanted, true);
    return true;
}

void block_stop_opening(struct block *block)
{
    file_table_stop(block->files);
    LOCK_GUARD(&block->lock);
    block->is_stopping = true;
    for (struct device *device = block->devices; device; device = device->next)
        atomic_store(&device->is_unwanted, true);
}

int block_device_open_failed(struct block *block, const struct device_spec *spec,
                             const struct err *cause, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    retry_begin(block, device, cause);
    block_device_export(block, spec->name);
    return 0;
}

int block_device_check_clients(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    const struct device *device = registry_find_locked(block, name);
    return device && device->clients ? export_report_clients(device, err) : 0;
}

/* Takes the device away from exports and groups, if none of them has it. */
static struct device *device_claim(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    retry_wait_locked(block, name);
    struct device *device = registry_await_locked(block, name);
    if (!device)
        err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    else if (device->clients)
        export_report_clients(device, err);
    else if (*device->holder)
        device_report_holder(device, err);
    else {
        device->exported = false;
        strcpy(device->holder, "a running detach");
        device_await_collapse_locked(block, device);
        return device;
    }
    return NULL;
}

/* What becomes of acknowledged data that cannot be flushed. */
enum close_how {
    CLOSE_FLUSHED, /* the device stays */
    CLOSE_KEEPING, /* they stay in their journals */
    CLOSE_DISCARDING,
};

/* 0, or -errno if the image may lack what clients of its device wrote. A frozen one is shared, and
 * marked when an image is put on it. What a job has written is not the device's (freeze.c, Z1). */
static int node_check_flushed(struct node *node)
{
    if (atomic_load(&node->was_thawed))
        return 0;
    if (atomic_load(&node->read_only))
        return node_flush(node);
    return node_is_unflushed(node) ? -EIO : 0;
}

/* All that the device has written is durable: 0, or -errno. */
static int device_check_flushed(struct device *device, const struct held_chain *chain)
{
    int ret = device_has_failed(device) ? 0 : device_flush(device);
    for (size_t i = 0; i < chain->count && ret == 0; i++)
        ret = node_check_flushed(chain->nodes[i]);
    return ret;
}

/* Whether the device may be closed in this way. The device is claimed. */
static int device_check_close(struct block *block, struct device *device,
                              const struct held_chain *chain, enum close_how how, struct err *err)
{
    bool discard = how == CLOSE_DISCARDING;
    if (chain->count == 0)
        return how == CLOSE_KEEPING
                   ? 0
                   : journal_recovery_sweep(block->journals, &block->dir, device->image,
                                            device->format, discard, err);
    int ret = device_check_flushed(device, chain);
    if (ret == 0 || how != CLOSE_FLUSHED)
        return 0;
    return err_set(
        err, ErrUnflushedData, 0,
        "device '%s' %s%s; it stays attached: detach it with {\"discard_unflushed\": true} "
        "to give up what its images may lack",
        device->name, device_has_failed(device) ? "has failed" : "could not be flushed: ",
        device_has_failed(device) ? "" : strerror(-ret));
}

static void device_unclaim(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    device->exported = true;
    *device->holder = 0;
}

/* A device that is still being opened is left to the attempt: 1, or 0 if it is not being opened. */
static int device_abandon_opening(struct block *block, struct device *device, struct err *err)
{
    bool has_left = journal_dir_has_path(block->journals, device->image);
    LOCK_GUARD(&block->lock);
    if (!retry_is_opening(device))
        return 0;
    if (has_left)
        return err_set(err, ErrDeviceInUse, 0,
                       "device '%s' is being opened, and has writes in a journal; try again",
                       device->name);
    retry_abandon_locked(block, device);
    return 1;
}

/* Ends the journals, which are empty or given up, before somebody else can open the images. */
static void chain_end_journals(struct block *block, const struct held_chain *chain, bool discard)
{
    for (size_t i = 0; i < chain->count; i++)
        if (discard)
            journal_recovery_discard(block->journals, chain->nodes[i]);
        else
            node_end_journal(chain->nodes[i], false);
}

/* Whether the path leads to the open file. */
static bool node_is_in_place(const struct node *node)
{
    struct stat st;
    return stat(node->path, &st) == 0 && st.st_dev == node->dev && st.st_ino == node->ino;
}

/* Whether somebody removed the file. False where that is not known: its storage may be away. */
static bool node_is_gone(struct block *block, const struct node *node)
{
    struct err ignored;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    return node->identity.is_lasting &&
           image_place_find(&block->dir, node->path, node->identity.text, &place, &ignored) > 0 &&
           image_place_check_free(&place, &ignored) == 0;
}

/* Removes the top's file, while nobody else can open it. The device is claimed. */
static int device_remove_top(struct block *block, const struct device *device,
                             const struct held_chain *chain, const unsigned char id[OWNER_ID_BYTES],
                             struct err *err)
{
    const struct node *top = chain->count ? chain->nodes[0] : NULL;
    if (!top)
        return err_set(err, ErrDeviceFailed, 0,
                       "device '%s' failed, so its image is not known to be its own", device->name);
    if (!node_is_in_place(top))
        return node_is_gone(block, top)
                   ? 0
                   : err_set(err, ErrImageIsKept, 0,
                             "image '%s' is open, but another file, or none, is under this path",
                             top->path);
    if (block_overlay_discard(block, top->path, NULL, top->driver->name, id, err) != 0)
        return -1;
    return node_is_in_place(top)
               ? err_set(err, ErrImageIsKept, 0, "image '%s' does not say that this daemon made it",
                         top->path)
               : 0;
}

/* All but taking the device, which is claimed, off the list. `id`: of the top, to remove it; NULL:
 * it stays. */
static int device_finish(struct block *block, struct device *device, enum close_how how,
                         const unsigned char *id, struct err *err)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0};
    if (held_chain_of(block, device, &chain) != 0)
        return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be closed",
                       device->name);
    if (device_check_close(block, device, &chain, how, err) != 0 ||
        (id && device_remove_top(block, device, &chain, id, err) != 0))
        return -1;
    chain_end_journals(block, &chain, how == CLOSE_DISCARDING);
    return 0;
}

static int device_close(struct block *block, const char *name, enum close_how how,
                        const unsigned char *id, struct err *err)
{
    struct device *device = device_claim(block, name, err);
    if (!device)
        return -1;
    int abandoned = device_abandon_opening(block, device, err);
    if (abandoned > 0)
        return 0;
    if (abandoned < 0 || device_finish(block, device, how, id, err) != 0) {
        device_unclaim(block, device);
        return -1;
    }
    registry_drop(block, device);
    return 0;
}

int block_device_close(struct block *block, const char *name, struct err *err)
{
    return device_close(block, name, CLOSE_FLUSHED, NULL, err);
}

int block_device_remove(struct block *block, const char *name,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    return device_close(block, name, CLOSE_FLUSHED, id, err);
}

int block_device_abandon(struct block *block, const char *name, bool discard, struct err *err)
{
    return device_close(block, name, discard ? CLOSE_DISCARDING : CLOSE_KEEPING, NULL, err);
}
