/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by name: opening, publishing, counting users, closing. See block.h, registry.h and
 * export/export.h.
 *
 * A device is in the list from before its chain is opened (the name is taken) until after it is
 * closed; exports see it only while `published`. The list's lock is never held across disk I/O.
 */
#include "block/registry.h"

#include "block/export/export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct device *registry_find_locked(struct block *block, const char *name)
{
    struct device *device = block->devices;
    while (device && strcmp(device->name, name) != 0)
        device = device->next;
    return device;
}

static void registry_append_locked(struct block *block, struct device *device)
{
    struct device **slot = &block->devices;
    while (*slot)
        slot = &(*slot)->next;
    *slot = device;
}

static void registry_remove_locked(struct block *block, struct device *device)
{
    struct device **slot = &block->devices;
    while (*slot != device)
        slot = &(*slot)->next;
    *slot = device->next;
}

void registry_set_overlay(struct block *block, struct device *device, struct node *overlay)
{
    LOCK_GUARD(&block->lock);
    device->overlay = overlay;
}

/* ---- who may open what ---- */

/* Whether `node` is that file and one of the two uses would write it. */
static bool node_excludes(const struct node *node, const struct chain_file *file)
{
    return node->dev == file->dev && node->ino == file->ino &&
           !(file->read_only && atomic_load(&node->read_only));
}

static bool device_excludes(struct device *device, const struct chain_file *file)
{
    if (device->overlay && node_excludes(device->overlay, file))
        return true;
    CLEANUP(node) struct node *top = device_top(device);
    for (const struct node *node = top; node; node = node->backing)
        if (node_excludes(node, file))
            return true;
    return false;
}

static int registry_check_use(struct block *block, const struct chain_file *file, struct err *err)
{
    LOCK_GUARD(&block->lock);
    for (struct device *device = block->devices; device; device = device->next)
        if (device_excludes(device, file))
            return err_set(err, ErrDeviceInUse, 0, "image '%s' is in use by device '%s'",
                           file->path, device->name);
    for (struct frozen *frozen = block->frozen; frozen; frozen = frozen->next) {
        if (!file->read_only && strcmp(frozen->image, file->path) == 0)
            return err_set(err, ErrDeviceInUse, 0,
                           "image '%s' is frozen by snapshot group '%s'; attach it read-only, or "
                           "write to an overlay of it",
                           file->path, frozen->group);
        if (frozen->device && device_excludes(frozen->device, file))
            return err_set(err, ErrDeviceInUse, 0, "image '%s' is in use by export '%s'",
                           file->path, frozen->name);
    }
    return 0;
}

static int registry_admit(void *arg, const struct chain_file *file, struct node **node,
                          struct err *err)
{
    const struct opener *opener = arg;
    if (registry_check_use(opener->block, file, err) != 0)
        return -1;
    return journals_admit(opener, file, node, err);
}

/* ---- devices ---- */

/* Takes the name: the new device is in the list, not published. */
static struct device *registry_reserve(struct block *block, const struct device_spec *spec,
                                       struct err *err)
{
    CLEANUP(device)
    struct device *device = device_new(spec->name, spec->image, spec->format, spec->read_only);
    if (!device) {
        err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
        return NULL;
    }
    device->overlay_shape = driver_overlay_shape(spec->overlay, 0);
    LOCK_GUARD(&block->lock);
    if (registry_find_locked(block, spec->name)) {
        err_set(err, ErrDeviceExists, 0, "device '%s' exists already", spec->name);
        return NULL;
    }
    registry_append_locked(block, device);
    return steal(device);
}

static void registry_drop(struct block *block, struct device *device)
{
    pthread_mutex_lock(&block->lock);
    registry_remove_locked(block, device);
    pthread_mutex_unlock(&block->lock);
    device_free(device);
}

/* Whoever opens a device to write may rely on what an earlier daemon acknowledged: the first flush
 * makes that durable too, though it may be in the page cache only, of the top or of the image that was
 * the top before it (device_flush). */
static int chain_make_writable(struct block *block, struct node *top, struct err *err)
{
    atomic_store(&top->unflushed, true);
    if (top->backing) {
        atomic_store(&top->backing->unflushed, true);
        top->backing->journals_fd = block->journals_fd;
    }
    return top->journal ? 0 : journals_add(block, top, err);
}

int block_device_open(struct block *block, const struct device_spec *spec, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    LOCK_GUARD(&block->open_lock);
    struct opener opener = {block, spec->is_restored, spec->discard_unflushed};
    struct chain_guard guard = {.admit = registry_admit, .arg = &opener};
    struct node *top =
        chain_open(&block->dir, spec->image, spec->format, spec->read_only, &guard, err);
    if (!top || (!spec->read_only && chain_make_writable(block, top, err) != 0)) {
        if (top)
            node_give_up(top);
        registry_drop(block, device);
        return -1;
    }
    pthread_mutex_lock(&block->lock);
    int ret = device_set_top(device, top, &block->index_memory);
    device->overlay_shape = driver_overlay_shape(spec->overlay, top->size_bytes);
    pthread_mutex_unlock(&block->lock);
    if (ret == 0)
        return 0;
    node_give_up(top);
    registry_drop(block, device);
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
}

void block_device_publish(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (device)
        device->published = true;
}

int block_device_open_failed(struct block *block, const struct device_spec *spec,
                             const char *reason, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    device_fail(device, "%s", reason);
    block_device_publish(block, spec->name);
    return 0;
}

/* Takes the device away from exports and groups, if none of them has it. */
static struct device *registry_claim(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    else if (device->clients)
        err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %u connected client%s", name,
                device->clients, device->clients == 1 ? "" : "s");
    else if (*device->holder)
        err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %s", name, device->holder);
    else {
        device->published = false;
        strcpy(device->holder, "a running detach");
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

/* Whether the device may be closed in this way. The device is claimed. */
static int device_check_close(struct block *block, struct device *device, enum close_how how,
                              struct err *err)
{
    bool discard = how == CLOSE_DISCARDING;
    if (!device->top)
        return how == CLOSE_KEEPING
                   ? 0
                   : journals_sweep(block, device->image, device->format, discard, err);
    int ret = device_has_failed(device) ? 0 : device_flush(device);
    bool is_unflushed = ret != 0;
    for (struct node *node = device->top; node; node = node->backing)
        is_unflushed |= node_is_unflushed(node);
    if (!is_unflushed || how != CLOSE_FLUSHED)
        return 0;
    return err_set(
        err, ErrUnflushedData, 0,
        "device '%s' %s%s; it stays attached: detach it with {\"discard_unflushed\": true} "
        "to give up what its images may lack",
        device->name, device_has_failed(device) ? "has failed" : "could not be flushed: ",
        device_has_failed(device) ? "" : strerror(-ret));
}

static int device_close(struct block *block, const char *name, enum close_how how, struct err *err)
{
    struct device *device = registry_claim(block, name, err);
    if (!device)
        return -1;
    if (device_check_close(block, device, how, err) != 0) {
        LOCK_GUARD(&block->lock);
        device->published = true;
        *device->holder = 0;
        return -1;
    }
    LOCK_GUARD(&block->open_lock); /* out of the list and unlocked, before the next open looks */
    /* Empty now, or given up; gone before somebody else can open the images. */
    for (struct node *node = device->top; node; node = node->backing)
        if (how == CLOSE_DISCARDING)
            journals_discard(block, node);
        else
            node_end_journal(node, false);
    registry_drop(block, device);
    return 0;
}

int block_device_close(struct block *block, const char *name, struct err *err)
{
    return device_close(block, name, CLOSE_FLUSHED, err);
}

int block_device_abandon(struct block *block, const char *name, bool discard, struct err *err)
{
    return device_close(block, name, discard ? CLOSE_DISCARDING : CLOSE_KEEPING, err);
}

/* ---- what a device looks like ---- */

static int device_info_fill_chain(struct device_info *info, struct node *top)
{
    for (const struct node *node = top; node; node = node->backing)
        info->chain_length++;
    info->chain = calloc(info->chain_length, sizeof(*info->chain));
    if (!info->chain) {
        info->chain_length = 0;
        return -1;
    }
    struct chain_image *image = info->chain;
    for (const struct node *node = top; node; node = node->backing, image++) {
        *image = (struct chain_image){.image = strdup(node->path),
                                      .format = node->driver->name,
                                      .size_bytes = node->size_bytes};
        node_allocated_bytes(node, &image->allocated_bytes);
        if (!image->image)
            return -1;
    }
    info->format = top->driver->name;
    info->top = strdup(top->path);
    return info->top ? 0 : -1;
}

int block_device_info(struct block *block, const char *name, struct device_info *info,
                      struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    CLEANUP(node) struct node *top = device_top(device);
    *info = (struct device_info){
        .failed = device_has_failed(device),
        .read_only = device->read_only,
        .size_bytes = device->size_bytes,
        .clients = device->clients,
        .overlay = device->overlay_shape,
    };
    pthread_mutex_lock(&device->lock);
    info->reason = device->reason ? strdup(device->reason) : NULL;
    pthread_mutex_unlock(&device->lock);
    if (top && device_info_fill_chain(info, top) != 0) {
        device_info_clear(info);
        return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be described", name);
    }
    return 0;
}

void device_info_clear(struct device_info *info)
{
    for (size_t i = 0; i < info->chain_length; i++)
        free(info->chain[i].image);
    free(info->chain);
    free(info->reason);
    free(info->top);
    *info = (struct device_info){.failed = false};
}

/* ---- exports ---- */

void frozen_free(struct frozen *frozen)
{
    free(frozen->name);
    free(frozen->alias);
    free(frozen->image);
    free(frozen->format);
    free(frozen->group);
    free(frozen);
}
CLEANUP_DEFINE(frozen, struct frozen *, frozen_free)

int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *format, struct err *err)
{
    CLEANUP(frozen) struct frozen *frozen = calloc(1, sizeof(*frozen));
    if (!frozen || asprintf(&frozen->name, "%s@%s", device, group_name) < 0 ||
        asprintf(&frozen->alias, "%s@%s", device, group_id) < 0 ||
        !(frozen->image = strdup(image)) || !(frozen->format = strdup(format)) ||
        !(frozen->group = strdup(group_name)))
        return err_set(err, ErrOutOfResources, ENOMEM, "export '%s@%s' cannot be offered", device,
                       group_name);
    LOCK_GUARD(&block->lock);
    frozen->next = block->frozen;
    block->frozen = steal(frozen);
    return 0;
}

static struct frozen *frozen_find_locked(struct block *block, const char *name)
{
    struct frozen *frozen = block->frozen;
    while (frozen && strcmp(frozen->name, name) != 0 && strcmp(frozen->alias, name) != 0)
        frozen = frozen->next;
    return frozen;
}

/* The frozen member's device, opened if it is not; counted. */
static struct device *frozen_use(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->open_lock);
    pthread_mutex_lock(&block->lock);
    struct frozen *frozen = frozen_find_locked(block, name);
    struct device *device = frozen ? frozen->device : NULL;
    if (device)
        device->clients++;
    pthread_mutex_unlock(&block->lock);
    if (device)
        return device;
    if (!frozen) {
        err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
        return NULL;
    }
    CLEANUP(device)
    struct device *opened = device_new(frozen->name, frozen->image, frozen->format, true);
    if (!opened) {
        err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", name);
        return NULL;
    }
    struct opener opener = {block, .is_restored = true};
    struct chain_guard guard = {.admit = registry_admit, .arg = &opener};
    struct node *top = chain_open(&block->dir, frozen->image, frozen->format, true, &guard, err);
    if (!top)
        return NULL;
    if (device_set_top(opened, top, &block->index_memory) != 0) {
        node_unref(top);
        err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", name);
        return NULL;
    }
    opened->clients = 1;
    LOCK_GUARD(&block->lock);
    return frozen->device = steal(opened);
}

struct device *export_use(struct block *block, const char *name, struct err *err)
{
    if (strchr(name, '@')) /* no device's name has one */
        return frozen_use(block, name, err);
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device || !device->published) {
        err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
        return NULL;
    }
    if (device_has_failed(device)) {
        err_set(err, ErrDeviceFailed, 0, "device '%s' failed", name);
        return NULL;
    }
    device->clients++;
    return device;
}

/* A frozen member's last client closes it. */
static void frozen_unuse(struct block *block, struct device *device)
{
    LOCK_GUARD(
        &block->open_lock); /* not in use any more and unlocked, before the next open looks */
    struct device *last = NULL;
    pthread_mutex_lock(&block->lock);
    if (--device->clients == 0)
        for (struct frozen *frozen = block->frozen; frozen && !last; frozen = frozen->next)
            if (frozen->device == device)
                last = steal(frozen->device);
    pthread_mutex_unlock(&block->lock);
    if (last)
        device_free(last);
}

void export_unuse(struct block *block, struct device *device)
{
    if (strchr(device->name, '@')) {
        frozen_unuse(block, device);
        return;
    }
    LOCK_GUARD(&block->lock);
    device->clients--;
}

int export_list(struct block *block, int (*each)(void *arg, const char *name), void *arg)
{
    int ret = 0;
    LOCK_GUARD(&block->lock);
    for (struct device *device = block->devices; device && !ret; device = device->next)
        if (device->published)
            ret = each(arg, device->name);
    for (struct frozen *frozen = block->frozen; frozen && !ret; frozen = frozen->next)
        ret = each(arg, frozen->name);
    return ret;
}
