/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by name: reserving, finding, describing, removing. See registry.h and block.h.
 *
 * A device is in the list from before its chain is opened (the name is taken) until just before it
 * is closed; exports see it only while `exported`.
 */
#include "block/device/registry.h"

#include "base/condition.h"
#include "block/device/held-chain.h"
#include "block/image/drivers.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { STAMPS_AT_A_TIME = 64 }; /* under one hold of the lock */

struct device *registry_find_locked(struct block *block, const char *name)
{
    struct hash_link *link = hash_table_find(&block->named, hash_text(name));
    for (; link; link = link->next) {
        struct device *device = HASH_OBJECT(link, struct device, named);
        if (strcmp(device->name, name) == 0)
            return device;
    }
    return NULL;
}

struct device *registry_await_locked(struct block *block, const char *name)
{
    struct device *device = registry_find_locked(block, name);
    while (device && device->is_returning) {
        block->return_waiters++;
        condition_wait(&block->changed, &block->lock);
        block->return_waiters--;
        device = registry_find_locked(block, name);
    }
    return device;
}

static void registry_append_locked(struct block *block, struct device *device)
{
    device->previous = block->last_device;
    *(device->previous ? &device->previous->next : &block->devices) = device;
    block->last_device = device;
    device->named.hash = hash_text(device->name);
    hash_table_add(&block->named, &device->named);
}

void registry_remove_locked(struct block *block, struct device *device)
{
    *(device->previous ? &device->previous->next : &block->devices) = device->next;
    *(device->next ? &device->next->previous : &block->last_device) = device->previous;
    hash_table_remove(&block->named, &device->named);
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
    memcpy(device->id, spec->id, sizeof(device->id));
    device->allowed_clients = allowed_clients_ref(spec->clients);
    LOCK_GUARD(&block->lock);
    if (registry_find_locked(block, spec->name)) {
        err_set(err, ErrDeviceExists, 0, "device '%s' exists already", spec->name);
        return NULL;
    }
    device->serial = ++block->serial;
    device->failures_fd = block->failures_fd;
    atomic_store(&device->is_unwanted, block->is_stopping);
    registry_append_locked(block, device);
    return steal(device);
}

void registry_drop(struct block *block, struct device *device)
{
    pthread_mutex_lock(&block->lock);
    registry_remove_locked(block, device);
    while (device->lookers)
        condition_wait(&block->changed, &block->lock);
    pthread_mutex_unlock(&block->lock);
    device_free(device);
}

void device_await_collapse_locked(struct block *block, struct device *device)
{
    assert(*device->holder);
    while (device->is_collapsing)
        condition_wait(&block->changed, &block->lock);
}

void block_device_export(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (device)
        device->exported = true;
}

/* ---- what a device looks like ---- */

static int device_info_fill_chain(struct block *block, struct device_info *info, struct node *top,
                                  bool may_wait)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0};
    if (held_chain_begin(block, top, &chain) != 0)
        return -1;
    info->chain = calloc(chain.count, sizeof(*info->chain));
    if (!info->chain)
        return -1;
    info->chain_length = chain.count;
    for (size_t i = 0; i < chain.count; i++) {
        struct node *node = chain.nodes[i];
        struct chain_image *image = &info->chain[i];
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
    int ret = top ? device_info_fill_chain(block, info, top, may_wait) : 0;
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

/* ---- failures ---- */

int block_failures_fd(const struct block *block)
{
    return block->failures_fd;
}

static bool device_take_failure(struct device *device, struct device_failure *failure)
{
    LOCK_GUARD(&device->lock);
    if (atomic_load(&device->state) < DEVICE_FAILED || device->is_failure_taken)
        return false;
    device->is_failure_taken = true;
    snprintf(failure->name, sizeof(failure->name), "%s", device->name);
    snprintf(failure->reason, sizeof(failure->reason), "%s", device->reason ? device->reason : "");
    return true;
}

bool block_take_failure(struct block *block, struct device_failure *failure)
{
    LOCK_GUARD(&block->lock);
    for (struct device *device = block->devices; device; device = device->next)
        if (device->exported && device_take_failure(device, failure))
            return true;
    return false;
}

/* ---- stamps ---- */

/* A device whose stamp is being taken. */
struct stamping {
    struct device *device; /* NULL: there is none */
    struct node *top;      /* with a reference; or NULL */
    uint64_t hash;
};

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    hash = (hash ^ number) * 0x9e3779b97f4a7c15; /* 2^64 by the golden ratio */
    return hash ^ hash >> 29;
}

static uint64_t stamp_begin(bool failed, bool read_only, uint64_t size_bytes, unsigned clients,
                            const struct cluster_shape *overlay, const char *reason)
{
    uint64_t hash = hash_number(HASH_START, failed + 2U * read_only + 4U * overlay->extended_l2);
    hash = hash_number(hash, size_bytes);
    hash = hash_number(hash, clients);
    hash = hash_number(hash, overlay->cluster_bytes);
    return hash_bytes(hash, reason ? reason : "", reason ? strlen(reason) : 0);
}

static uint64_t stamp_add(uint64_t hash, const char *path, const char *format, uint64_t size_bytes,
                          uint64_t allocated_bytes)
{
    hash = hash_bytes(hash, path, strlen(path));
    hash = hash_bytes(hash, format, strlen(format));
    hash = hash_number(hash, size_bytes);
    return hash_number(hash, allocated_bytes);
}

static uint64_t stamp_end(uint64_t hash)
{
    return hash ? hash : 1;
}

uint64_t device_info_stamp(const struct device_info *info)
{
    uint64_t hash = stamp_begin(info->failed, info->read_only, info->size_bytes, info->clients,
                                &info->overlay, info->reason);
    for (size_t i = 0; i < info->chain_length; i++) {
        const struct chain_image *image = &info->chain[i];
        hash =
            stamp_add(hash, image->image, image->format, image->size_bytes, image->allocated_bytes);
    }
    return stamp_end(hash);
}

static void stamping_begin_locked(struct block *block, const char *name, struct stamping *stamping)
{
    struct device *device = registry_find_locked(block, name);
    *stamping = (struct stamping){.device = device};
    if (!device)
        return;
    bool failed = device_has_failed(device);
    pthread_mutex_lock(&device->lock);
    stamping->hash = stamp_begin(failed, device->read_only, device->size_bytes, device->clients,
                                 &device->overlay_shape, device->reason);
    pthread_mutex_unlock(&device->lock);
    device->lookers++;
    stamping->top = device_top(device);
}

static uint64_t node_stamp_add(uint64_t hash, struct node *node, bool may_wait)
{
    return stamp_add(hash, node->path, node->driver->name, node->size_bytes,
                     node_allocated_bytes(node, may_wait));
}

/* Only what is in memory, or without memory for more. */
static uint64_t stamping_walk(struct block *block, const struct stamping *stamping)
{
    READERS_GUARD(&block->walkers);
    uint64_t hash = stamping->hash;
    for (struct node *node = stamping->top; node; node = node->backing)
        hash = node_stamp_add(hash, node, false);
    return hash;
}

static uint64_t stamping_wait(struct block *block, const struct stamping *stamping)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0};
    if (held_chain_begin(block, stamping->top, &chain) != 0)
        return stamping_walk(block, stamping);
    uint64_t hash = stamping->hash;
    for (size_t i = 0; i < chain.count; i++)
        hash = node_stamp_add(hash, chain.nodes[i], true);
    return hash;
}

static uint64_t stamping_end(struct block *block, const struct stamping *stamping, bool may_wait)
{
    uint64_t hash = may_wait ? stamping_wait(block, stamping) : stamping_walk(block, stamping);
    if (stamping->top)
        node_unref(stamping->top);
    return stamp_end(hash);
}

static void stampings_forget(struct block *block, const struct stamping *stampings, size_t count)
{
    LOCK_GUARD(&block->lock);
    for (size_t i = 0; i < count; i++)
        if (stampings[i].device && --stampings[i].device->lookers == 0)
            pthread_cond_broadcast(&block->changed);
}

void block_device_stamps(struct block *block, const char *const *names, size_t count, bool may_wait,
                         uint64_t *stamps)
{
    struct stamping stampings[STAMPS_AT_A_TIME];
    while (count > 0) {
        size_t some = count < STAMPS_AT_A_TIME ? count : STAMPS_AT_A_TIME;
        pthread_mutex_lock(&block->lock);
        for (size_t i = 0; i < some; i++)
            stamping_begin_locked(block, names[i], &stampings[i]);
        pthread_mutex_unlock(&block->lock);
        for (size_t i = 0; i < some; i++)
            stamps[i] = stampings[i].device ? stamping_end(block, &stampings[i], may_wait) : 0;
        stampings_forget(block, stampings, some);
        names += some;
        stamps += some;
        count -= some;
    }
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
