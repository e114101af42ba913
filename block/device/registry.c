/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by name: reserving, finding, describing, removing. See registry.h and block.h.
 *
 * A device is in the list from before its chain is opened (the name is taken) until just before it
 * is closed; exports see it only while `exported`.
 */
#include "block/device/registry.h"

#include <assert.h>
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

void registry_remove_locked(struct block *block, struct device *device)
{
    struct device **slot = &block->devices;
    while (*slot != device)
        slot = &(*slot)->next;
    *slot = device->next;
}

struct device *registry_reserve(struct block *block, const struct device_spec *spec,
                                struct err *err)
{
    CLEANUP(device)
    struct device *device = device_new(spec->name, spec->image, spec->format, spec->read_only);
    if (!device) {
        err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
        return NULL;
    }
    device->overlay_shape = driver_overlay_shape(spec->overlay, 0);
    snprintf(device->identity, sizeof(device->identity), "%s",
             spec->identity ? spec->identity : "");
    LOCK_GUARD(&block->lock);
    if (registry_find_locked(block, spec->name)) {
        err_set(err, ErrDeviceExists, 0, "device '%s' exists already", spec->name);
        return NULL;
    }
    device->serial = ++block->serial;
    atomic_store(&device->is_unwanted, block->is_stopping);
    registry_append_locked(block, device);
    return steal(device);
}

void registry_drop(struct block *block, struct device *device)
{
    pthread_mutex_lock(&block->lock);
    registry_remove_locked(block, device);
    while (device->lookers)
        pthread_cond_wait(&block->changed, &block->lock);
    pthread_mutex_unlock(&block->lock);
    device_free(device);
}

void block_device_export(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (device)
        device->exported = true;
}

/* ---- what a device looks like ---- */

static int device_info_fill_chain(struct device_info *info, struct node *top, bool may_wait)
{
    for (const struct node *node = top; node; node = node->backing)
        info->chain_length++;
    info->chain = calloc(info->chain_length, sizeof(*info->chain));
    if (!info->chain) {
        info->chain_length = 0;
        return -1;
    }
    struct chain_image *image = info->chain;
    for (struct node *node = top; node; node = node->backing, image++) {
        *image = (struct chain_image){.image = strdup(node->path),
                                      .format = node->driver->name,
                                      .size_bytes = node->size_bytes,
                                      .allocated_bytes = node_allocated_bytes(node, may_wait)};
        memcpy(image->identity, node->identity.text, sizeof(image->identity));
        if (!image->image)
            return -1;
    }
    info->format = top->driver->name;
    info->top = strdup(top->path);
    return info->top ? 0 : -1;
}

/* What is known without looking at files; *top gets a reference, and the device a looker. */
static int device_info_begin(struct block *block, const char *name, struct device_info *info,
                             struct device **found, struct node **top, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    *info = (struct device_info){
        .failed = device_has_failed(device),
        .read_only = device->read_only,
        .size_bytes = device->size_bytes,
        .clients = device->clients,
        .overlay = device->overlay_shape,
    };
    for (enum device_op op = 0; op < DEVICE_OP_COUNT; op++)
        info->io_bytes[op] = device_counted_bytes(device, op);
    pthread_mutex_lock(&device->lock);
    info->reason = device->reason ? strdup(device->reason) : NULL;
    pthread_mutex_unlock(&device->lock);
    device->lookers++;
    *top = device_top(device);
    *found = device;
    return 0;
}

/* The reference goes before the looker: a device that has none is closed by whoever drops it. */
static void device_info_end(struct block *block, struct device *device, struct node *top)
{
    if (top)
        node_unref(top);
    LOCK_GUARD(&block->lock);
    assert(device->lookers > 0);
    if (--device->lookers == 0)
        pthread_cond_broadcast(&block->changed);
}

static int device_info_get(struct block *block, const char *name, bool may_wait,
                           struct device_info *info, struct err *err)
{
    struct device *device = NULL;
    struct node *top = NULL;
    if (device_info_begin(block, name, info, &device, &top, err) != 0)
        return -1;
    int ret = top ? device_info_fill_chain(info, top, may_wait) : 0;
    device_info_end(block, device, top);
    if (ret == 0)
        return 0;
    device_info_clear(info);
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be described", name);
}

int block_device_info(struct block *block, const char *name, struct device_info *info,
                      struct err *err)
{
    return device_info_get(block, name, true, info, err);
}

int block_device_info_known(struct block *block, const char *name, struct device_info *info,
                            struct err *err)
{
    return device_info_get(block, name, false, info, err);
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
