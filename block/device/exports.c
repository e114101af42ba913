/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports: devices, and frozen members, "DEVICE@GROUP". See exports.h and block.h.
 *
 * A frozen member leaves its list when its group is deleted, and is withdrawn before: whoever
 * deletes may be refused. Its first client opens the chain, while others that request the same
 * member wait; its last client closes it:
 *
 *     closed --frozen_use--> is_opening --> device open --frozen_unuse, the last--> closed
 *                                \--> closed (it cannot be opened)
 *
 * A device and each of its frozen images hold a reference of their own to its list of clients, so a
 * frozen image keeps the list when its device is detached. A new list replaces all of them under
 * block->lock: they agree while the device is there.
 */
#include "block/device/exports.h"

#include "base/condition.h"
#include "block/device/clients.h"
#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/device/retry.h"
#include "block/frozen.h"

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
    allowed_clients_unref(frozen->allowed_clients);
    free(frozen);
}
CLEANUP_DEFINE(frozen, struct frozen *, frozen_free)

/* Whether the frozen image is one of the device's. */
static bool frozen_is_of(const struct frozen *frozen, const struct device *device)
{
    size_t length = strlen(device->name);
    return memcmp(frozen->device_id, device->id, sizeof(device->id)) == 0 &&
           strncmp(frozen->name, device->name, length) == 0 && frozen->name[length] == '@';
}

/* The clients are those of the device, if it is there. The lock is held. */
static void frozen_set_owner_locked(struct block *block, struct frozen *frozen, const char *device,
                                    const struct frozen_owner *owner)
{
    const struct device *now = registry_find_locked(block, device);
    const unsigned char *id = owner && owner->id ? owner->id : now ? now->id : NULL;
    if (id)
        memcpy(frozen->device_id, id, sizeof(frozen->device_id));
    if (now && frozen_is_of(frozen, now))
        frozen->allowed_clients = allowed_clients_ref(now->allowed_clients);
    else if (owner)
        frozen->allowed_clients = allowed_clients_ref(owner->clients);
}

int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *identity,
                     const char *format, const struct frozen_owner *owner, struct err *err)
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
    frozen_set_owner_locked(block, frozen, device, owner);
    frozen->serial = ++block->serial;
    frozen->next = block->frozen;
    frozen->named.hash = hash_text(frozen->name);
    frozen->aliased.hash = hash_text(frozen->alias);
    hash_table_add(&block->frozen_named, &frozen->named);
    hash_table_add(&block->frozen_aliased, &frozen->aliased);
    block->frozen = steal(frozen);
    return 0;
}

/* Gives *slot a copy; 0, or -1. */
static int text_replace(char **slot, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return -1;
    free(*slot);
    *slot = copy;
    return 0;
}

/* The path comes last: without memory for it the image stays, and is known. */
static int frozen_move_locked(struct frozen *frozen, const struct node *to)
{
    if (text_replace(&frozen->identity, to->identity.text) != 0)
        return -1;
    if (text_replace(&frozen->format, to->driver->name) != 0 ||
        text_replace(&frozen->image, to->path) != 0) {
        free(steal(frozen->identity)); /* not known */
        return -1;
    }
    return 0;
}

int exports_move(struct block *block, const struct node *from, const struct node *to,
                 struct err *err)
{
    LOCK_GUARD(&block->lock);
    for (struct frozen *frozen = block->frozen; frozen; frozen = frozen->next)
        if (strcmp(frozen->image, from->path) == 0 && frozen_move_locked(frozen, to) != 0)
            return err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be moved",
                           frozen->name);
    return 0;
}

/* Takes over the reference `clients`. */
static void clients_replace(struct allowed_clients **slot, struct allowed_clients *clients)
{
    allowed_clients_unref(*slot);
    *slot = clients;
}

void block_device_allow(struct block *block, const char *name, struct allowed_clients *clients)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        return;
    clients_replace(&device->allowed_clients, allowed_clients_ref(clients));
    for (struct frozen *frozen = block->frozen; frozen; frozen = frozen->next)
        if (frozen_is_of(frozen, device))
            clients_replace(&frozen->allowed_clients, allowed_clients_ref(clients));
}

/* Also one that is withdrawn. */
static struct frozen *frozen_find_any_locked(struct block *block, const char *name)
{
    uint64_t hash = hash_text(name);
    for (struct hash_link *link = hash_table_find(&block->frozen_named, hash); link;
         link = link->next) {
        struct frozen *frozen = HASH_OBJECT(link, struct frozen, named);
        if (strcmp(frozen->name, name) == 0)
            return frozen;
    }
    for (struct hash_link *link = hash_table_find(&block->frozen_aliased, hash); link;
         link = link->next) {
        struct frozen *frozen = HASH_OBJECT(link, struct frozen, aliased);
        if (strcmp(frozen->alias, name) == 0)
            return frozen;
    }
    return NULL;
}

static struct frozen *frozen_find_locked(struct block *block, const char *name)
{
    struct frozen *frozen = frozen_find_any_locked(block, name);
    return frozen && frozen->withdrawals == 0 ? frozen : NULL;
}

/* Nobody has it open, or is about to. */
static void frozen_remove_locked(struct block *block, struct frozen *frozen)
{
    assert(!frozen->device && !frozen->is_opening);
    struct frozen **slot = &block->frozen;
    while (*slot != frozen)
        slot = &(*slot)->next;
    *slot = frozen->next;
    hash_table_remove(&block->frozen_named, &frozen->named);
    hash_table_remove(&block->frozen_aliased, &frozen->aliased);
    frozen_free(frozen);
}

/* Once nobody opens it. NULL: there is none, or none any more. */
static struct frozen *frozen_await_locked(struct block *block, const char *name)
{
    struct frozen *frozen = frozen_find_locked(block, name);
    while (frozen && frozen->is_opening) {
        condition_wait(&block->changed, &block->lock);
        frozen = frozen_find_locked(block, name);
    }
    return frozen;
}

/* By the group's id, also one that is withdrawn. */
static struct frozen *frozen_find_member_locked(struct block *block, const char *device,
                                                const char *group_id)
{
    char alias[DEVICE_NAME_MAX + 64];
    snprintf(alias, sizeof(alias), "%s@%s", device, group_id);
    return frozen_find_any_locked(block, alias);
}

/* The same once nobody opens it, if nobody has it open. DeviceInUse. */
static int frozen_await_unused_locked(struct block *block, const char *device, const char *group_id,
                                      struct frozen **frozen, struct err *err)
{
    while ((*frozen = frozen_find_member_locked(block, device, group_id)) && (*frozen)->is_opening)
        condition_wait(&block->changed, &block->lock);
    return *frozen && (*frozen)->device ? export_report_clients((*frozen)->device, err) : 0;
}

int block_frozen_check_unused(struct block *block, const char *device, const char *group_id,
                              struct err *err)
{
    struct frozen *frozen;
    LOCK_GUARD(&block->lock);
    return frozen_await_unused_locked(block, device, group_id, &frozen, err);
}

int block_frozen_withdraw(struct block *block, const char *device, const char *group_id,
                          struct err *err)
{
    struct frozen *frozen;
    LOCK_GUARD(&block->lock);
    if (frozen_await_unused_locked(block, device, group_id, &frozen, err) != 0)
        return -1;
    if (frozen)
        frozen->withdrawals++;
    return 0;
}

void block_frozen_restore(struct block *block, const char *device, const char *group_id)
{
    LOCK_GUARD(&block->lock);
    struct frozen *frozen = frozen_find_member_locked(block, device, group_id);
    assert(!frozen || frozen->withdrawals > 0);
    if (frozen)
        frozen->withdrawals--;
}

void block_frozen_remove(struct block *block, const char *device, const char *group_id)
{
    LOCK_GUARD(&block->lock);
    struct frozen *frozen = frozen_find_member_locked(block, device, group_id);
    assert(!frozen || frozen->withdrawals > 0);
    if (frozen)
        frozen_remove_locked(block, frozen);
}

/* What is to be opened, copied while the lock is held: it changes when snapshots are deleted. */
static struct device *frozen_device_new(const struct frozen *frozen, struct err *err)
{
    struct device *device = device_new(frozen->name, frozen->image, frozen->format, true);
    if (!device)
        err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", frozen->name);
    else if (frozen->identity)
        snprintf(device->identity, sizeof(device->identity), "%s", frozen->identity);
    return device;
}

/* Opens the member's chain, in one thread at a time (`is_opening`). The lock is held, but not while
 * files are opened. 1: the member has another image by now. */
static int frozen_try_locked(struct block *block, struct frozen *frozen, struct err *err)
{
    CLEANUP(device) struct device *device = frozen_device_new(frozen, err);
    if (!device)
        return -1;
    CLEANUP_OPENING struct opening opening = OPENING_OF(block);
    pthread_mutex_unlock(&block->lock);
    struct node *top =
        opener_open_image(&opening, device->image, device->format, device->identity, err);
    pthread_mutex_lock(&block->lock);
    bool is_moved = strcmp(device->image, frozen->image) != 0;
    int ret = is_moved ? 1 : top ? 0 : -1;
    if (ret == 0 && device_set_top(device, top, &block->index_memory, &block->cut) != 0)
        ret = err_set(err, ErrOutOfResources, ENOMEM, "export '%s' cannot be opened", frozen->name);
    if (ret == 0) {
        frozen->device = steal(device);
        return 0;
    }
    opening_end(&opening);
    pthread_mutex_unlock(&block->lock);
    if (top)
        node_unref(top);
    pthread_mutex_lock(&block->lock);
    return ret;
}

static int frozen_open_locked(struct block *block, struct frozen *frozen, struct err *err)
{
    int ret;
    frozen->is_opening = true;
    do
        ret = frozen_try_locked(block, frozen, err);
    while (ret > 0);
    frozen->is_opening = false;
    pthread_cond_broadcast(&block->changed);
    return ret;
}

/* The frozen member's device, opened if it is not; counted. */
static struct device *frozen_use(struct block *block, const char *name,
                                 const struct client_names *client, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct frozen *frozen = frozen_await_locked(block, name);
    if (!frozen) {
        err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
        return NULL;
    }
    if (client && !allowed_clients_admit(frozen->allowed_clients, client)) {
        client_report_refusal(client, name, err);
        return NULL;
    }
    if (!frozen->device && frozen_open_locked(block, frozen, err) != 0)
        return NULL;
    frozen->device->clients++;
    return frozen->device;
}

/* The exported device, if it admits the client. The lock is held. */
static struct device *device_find_locked(struct block *block, const char *name,
                                         const struct client_names *client, struct err *err)
{
    struct device *device = registry_find_locked(block, name);
    if (!device || !device->exported)
        err_set(err, ErrDeviceNotFound, 0, "there is no export '%s'", name);
    else if (!allowed_clients_admit(device->allowed_clients, client))
        client_report_refusal(client, name, err);
    else if (device->is_closed)
        err_set(err, ErrDeviceInUse, 0, "device '%s' is being rolled back; try again", name);
    else
        return device;
    return NULL;
}

/* The same for a moment. */
static int device_check(struct block *block, const char *name, const struct client_names *client,
                        struct err *err)
{
    LOCK_GUARD(&block->lock);
    return device_find_locked(block, name, client, err) ? 0 : -1;
}

struct device *export_use(struct block *block, const char *name, const struct client_names *client,
                          struct err *err)
{
    if (strchr(name, '@')) /* no device's name has one */
        return frozen_use(block, name, client, err);
    assert(client);
    if (device_check(block, name, client, err) != 0) /* nothing is retried for others */
        return NULL;
    retry_now(block, name);
    LOCK_GUARD(&block->lock);
    struct device *device = device_find_locked(block, name, client, err);
    if (!device)
        return NULL;
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
    struct hash_link *link = hash_table_find(&block->frozen_named, hash_text(device->name));
    for (; device->clients == 1 && !last; link = link->next) {
        struct frozen *frozen = HASH_OBJECT(link, struct frozen, named);
        if (frozen->device == device)
            last = steal(frozen->device);
    }
    device->clients--;
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
    if (device->is_closed)
        pthread_cond_broadcast(&block->changed);
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
    if (device->is_closed) /* it was counted before */
        pthread_cond_broadcast(&block->changed);
}

void export_leave(struct block *block, struct device *device, struct export_client *client)
{
    LOCK_GUARD(&block->lock);
    struct export_client **link = &device->client_list;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
}

/* "address 127.0.0.1:4711 (client.example)", "process 17 of user 0". */
static void client_format(const struct err_client *client, char *text, size_t bytes)
{
    bool has_name = *client->tls_name;
    if (client->pid)
        snprintf(text, bytes, "process %ld of user %u", client->pid, client->uid);
    else
        snprintf(text, bytes, "address %s", client->address);
    size_t length = strlen(text);
    if (has_name)
        snprintf(text + length, bytes - length, " (%s)", client->tls_name);
}

int export_report_clients(const struct device *device, struct err *err)
{
    char text[320] = "";
    const struct export_client *first = device->client_list;
    bool is_one = device->clients == 1;
    if (first)
        client_format(&first->who, text, sizeof(text));
    err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %u connected client%s%s%s",
            device->name, device->clients, is_one ? "" : "s",
            !first   ? ""
            : is_one ? ", "
                     : ", one is ",
            text);
    return first ? err_add_clients(err, device->name, &first->who)
                 : err_add_holder(err, "export", device->name);
}

/* ---- closing to clients ---- */

void export_close_locked(struct device *device)
{
    assert(!device->is_closed);
    device->is_closed = true;
}

void export_reopen_locked(struct device *device)
{
    assert(device->is_closed);
    device->is_closed = false;
}

static void device_hang_up_locked(struct device *device)
{
    assert(device->is_closed);
    for (struct export_client *client = device->client_list; client; client = client->next)
        client->hang_up(client);
}

void export_hang_up(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    device_hang_up_locked(device);
}

int export_await_end(struct block *block, struct device *device, uint64_t until_us, struct err *err)
{
    LOCK_GUARD(&block->lock);
    while (device->clients) {
        device_hang_up_locked(device); /* also those that were counted, but not entered, before */
        if (!condition_wait_until(&block->changed, &block->lock, until_us))
            return device->clients ? export_report_clients(device, err) : 0;
    }
    return 0;
}

int export_check(struct block *block, const char *name, const struct client_names *client,
                 struct err *err)
{
    LOCK_GUARD(&block->lock);
    const struct frozen *frozen = frozen_find_locked(block, name);
    if (frozen)
        return allowed_clients_admit(frozen->allowed_clients, client)
                   ? 0
                   : client_report_refusal(client, name, err);
    struct device *device = device_find_locked(block, name, client, err);
    if (device && device_has_failed(device))
        return err_set(err, ErrDeviceFailed, 0, "device '%s' failed", name);
    return device ? 0 : -1;
}

int export_list(struct block *block, struct export_cursor *cursor,
                const struct client_names *client, int (*each)(void *arg, const char *name),
                void *arg)
{
    int ret = 0;
    LOCK_GUARD(&block->lock);
    /* In order of their serial numbers: the oldest device first, the newest frozen image first. */
    for (struct device *device = block->devices; device && !ret; device = device->next)
        if (device->exported && device->serial > cursor->device &&
            allowed_clients_admit(device->allowed_clients, client) &&
            (ret = each(arg, device->name)) == 0)
            cursor->device = device->serial;
    for (struct frozen *frozen = block->frozen; frozen && !ret; frozen = frozen->next)
        if ((!cursor->frozen || frozen->serial < cursor->frozen) && frozen->withdrawals == 0 &&
            allowed_clients_admit(frozen->allowed_clients, client) &&
            (ret = each(arg, frozen->name)) == 0)
            cursor->frozen = frozen->serial;
    return ret;
}

/* ---- frozen members of one device ---- */

/* Both are of one device, and `older` was frozen before. */
static bool frozen_precedes(const struct frozen *older, const struct frozen *newer)
{
    size_t length = strcspn(newer->name, "@") + 1;
    return older->serial < newer->serial && strncmp(older->name, newer->name, length) == 0 &&
           memcmp(older->device_id, newer->device_id, sizeof(newer->device_id)) == 0;
}

bool export_find_older(struct block *block, const char *name, const char *group,
                       char older[EXPORT_FROZEN_NAME_MAX + 1])
{
    int device_length = (int)strcspn(name, "@");
    if (device_length > DEVICE_NAME_MAX || strlen(group) > GROUP_NAME_MAX)
        return false;
    snprintf(older, EXPORT_FROZEN_NAME_MAX + 1, "%.*s@%s", device_length, name, group);
    LOCK_GUARD(&block->lock);
    const struct frozen *newer = frozen_find_locked(block, name);
    const struct frozen *found = newer ? frozen_find_locked(block, older) : NULL;
    return found && frozen_precedes(found, newer);
}

int export_list_older(struct block *block, const char *name, struct export_cursor *cursor,
                      int (*each)(void *arg, const char *group), void *arg)
{
    int ret = 0;
    LOCK_GUARD(&block->lock);
    const struct frozen *newer = frozen_find_locked(block, name);
    if (!newer)
        return 0;
    for (struct frozen *frozen = block->frozen; frozen && !ret; frozen = frozen->next)
        if ((!cursor->frozen || frozen->serial < cursor->frozen) && frozen->withdrawals == 0 &&
            frozen_precedes(frozen, newer) && (ret = each(arg, frozen->group)) == 0)
            cursor->frozen = frozen->serial;
    return ret;
}
