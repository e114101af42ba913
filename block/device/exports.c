/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports: devices, and frozen members, "DEVICE@GROUP". See exports.h and block.h.
 *
 * A frozen member is never removed from its list. Its first client opens the chain, while others
 * that request the same member wait; its last client closes it:
 *
 *     closed --frozen_use--> is_opening --> device open --frozen_unuse, the last--> closed
 *                                \--> closed (it cannot be opened)
 */
#include "block/device/exports.h"

#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/device/retry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void frozen_free(struct frozen *frozen)
{
    free(frozen->name);
    free(frozen->alias);
    free(frozen->image);
    free(frozen->format);
    free(frozen->group);
    free(frozen->identity);
    free(frozen);
}
CLEANUP_DEFINE(frozen, struct frozen *, frozen_free)

int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *identity,
                     const char *format, struct err *err)
{
    CLEANUP(frozen) struct frozen *frozen = calloc(1, sizeof(*frozen));
    if (!frozen || asprintf(&frozen->name, "%s@%s", device, group_name) < 0 ||
        asprintf(&frozen->alias, "%s@%s", device, group_id) < 0 ||
        !(frozen->image = strdup(image)) || !(frozen->format = strdup(format)) ||
        !(frozen->group = strdup(group_name)) ||
        (identity && !(frozen->identity = strdup(identity))))
        return err_set(err, ErrOutOfResources, ENOMEM, "export '%s@%s' cannot be offered", device,
                       group_name);
    LOCK_GUARD(&block->lock);
    frozen->serial = ++block->serial;
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

/* Opens the member's chain, in one thread at a time (`is_opening`). */
static struct device *frozen_open(struct block *block, const struct frozen *frozen, struct err *err)
{
    CLEANUP_FREE char *user = NULL;
    CLEANUP(device)
    struct device *opened = device_new(frozen->name, frozen->image, frozen->format, true);
    if (!opened || asprintf(&user, "export '%s'", frozen->name) < 0) {
        err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", frozen->name);
        return NULL;
    }
    struct opener opener = {block, user, .terms.is_restored = true, .identity = frozen->identity};
    struct chain_guard guard = {.admit = opener_admit, .arg = &opener};
    struct node *top = chain_open(&block->dir, frozen->image, frozen->format, true, &guard, err);
    if (!top)
        return NULL;
    if (device_set_top(opened, top, &block->index_memory) != 0) {
        node_unref(top);
        err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", frozen->name);
        return NULL;
    }
    return steal(opened);
}

/* The frozen member's device, opened if it is not; counted. */
static struct device *frozen_use(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct frozen *frozen = frozen_find_locked(block, name);
    if (!frozen) {
        err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
        return NULL;
    }
    while (frozen->is_opening)
        pthread_cond_wait(&block->changed, &block->lock);
    if (!frozen->device) {
        frozen->is_opening = true;
        pthread_mutex_unlock(&block->lock);
        struct device *opened = frozen_open(block, frozen, err);
        pthread_mutex_lock(&block->lock);
        frozen->is_opening = false;
        frozen->device = opened;
        pthread_cond_broadcast(&block->changed);
    }
    if (frozen->device)
        frozen->device->clients++;
    return frozen->device;
}

struct device *export_use(struct block *block, const char *name, struct err *err)
{
    if (strchr(name, '@')) /* no device's name has one */
        return frozen_use(block, name, err);
    retry_now(block, name);
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device || !device->exported) {
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
    struct device *last = NULL;
    pthread_mutex_lock(&block->lock);
    assert(device->clients > 0 && device->read_only);
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
    assert(device->clients > 0 && device->exported);
    device->clients--;
}

void export_enter(struct block *block, struct device *device, struct export_client *client)
{
    LOCK_GUARD(&block->lock);
    assert(device->clients > 0);
    struct export_client **end = &device->client_list;
    while (*end)
        end = &(*end)->next;
    client->next = NULL;
    *end = client;
}

void export_leave(struct block *block, struct device *device, struct export_client *client)
{
    LOCK_GUARD(&block->lock);
    struct export_client **link = &device->client_list;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
}

int export_check(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    bool is_device = device && device->exported;
    if (!is_device && !frozen_find_locked(block, name))
        return err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
    if (is_device && device_has_failed(device))
        return err_set(err, ErrDeviceFailed, 0, "device '%s' failed", name);
    return 0;
}

int export_list(struct block *block, struct export_cursor *cursor,
                int (*each)(void *arg, const char *name), void *arg)
{
    int ret = 0;
    LOCK_GUARD(&block->lock);
    /* In order of their serial numbers: the oldest device first, the newest frozen image first. */
    for (struct device *device = block->devices; device && !ret; device = device->next)
        if (device->exported && device->serial > cursor->device &&
            (ret = each(arg, device->name)) == 0)
            cursor->device = device->serial;
    for (struct frozen *frozen = block->frozen; frozen && !ret; frozen = frozen->next)
        if ((!cursor->frozen || frozen->serial < cursor->frozen) &&
            (ret = each(arg, frozen->name)) == 0)
            cursor->frozen = frozen->serial;
    return ret;
}
