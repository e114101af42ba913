/* SPDX-License-Identifier: Apache-2.0
 *
 * See device-change.h. A row is recognised by its id: by the time of the change, another device may
 * have the name.
 *
 *   stored        removal, of a creation        removal, else   staying
 *   (none)        -                             -               -
 *   creating      image removed, row deleted    -               -
 *   attached      creating, then as above       row deleted     -
 *   detaching     creating, then as above       row deleted     attached
 */
#include "service/device-change.h"

#include "base/log.h"
#include "block/overlay.h"
#include "service/allowed-clients.h"
#include "service/context.h"
#include "service/deletes.h"
#include "service/idempotency.h"
#include "service/leftovers.h"
#include "service/names.h"
#include "store/images.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void device_row_change_free(struct device_row_change *change)
{
    device_row_clear(&change->row);
    free(change);
}

static void change_free_unsettled(struct unsettled *work)
{
    device_row_change_free((struct device_row_change *)work);
}

static struct device_row_change *
change_new(const struct device_row *row, const struct origin *origin,
           int (*settle)(struct service *, struct unsettled *, struct err *), struct err *err)
{
    CLEANUP(device_row_change) struct device_row_change *change = calloc(1, sizeof(*change));
    if (change) {
        change->unsettled.settle = settle;
        change->unsettled.free = change_free_unsettled;
        memcpy(change->row.id, row->id, sizeof(row->id));
        change->row.state = row->state;
        change->origin = *origin;
        change->row.name = strdup(row->name);
        change->row.image = strdup(row->image);
    }
    if (change && change->row.name && change->row.image)
        return steal(change);
    err_set(err, ErrOutOfResources, 0, "there is no memory to change device '%s'", row->name);
    return NULL;
}

int device_row_change_settle(struct service *service, struct device_row_change *change,
                             struct err *err)
{
    if (leftovers_settle(service, &change->unsettled, err) != 0)
        return -1;
    device_row_change_free(change);
    return 0;
}

int device_row_write(struct service *service,
                     int query(struct store_transaction *, const struct device_row *, struct err *),
                     const struct device_row *row, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || query(transaction, row, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

int device_row_insert_attached(struct service *service, const struct device_row *row,
                               const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_device_insert(transaction, row, err) != 0 ||
        event_record(transaction, origin, EVENT_DEVICE_ATTACHED, row->name, NULL, err) != 0 ||
        key_record(transaction, origin, "device", row->id, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* Makes the change with which the device is attached no longer, with its event. */
static int
row_write_detached(struct service *service,
                   int query(struct store_transaction *, const struct device_row *, struct err *),
                   const struct device_row *row, const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction ||
        event_record(transaction, origin, EVENT_DEVICE_DETACHED, row->name, NULL, err) != 0 ||
        query(transaction, row, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* Looks at the row of the change's device. 1: *now; 0: it is gone; -1: *err. */
static int change_look(struct service *service, const struct device_row_change *change,
                       struct device_row *now, struct err *err)
{
    if (store_device_get(service->store, change->row.name, now, err) != 0)
        return unsettled_is_due(err) ? -1 : 0;
    return strcmp(now->id, change->row.id) == 0;
}

/* On the leftovers' thread. */
static bool leftover_retry(struct service *service, const struct leftover *leftover)
{
    CLEANUP_BY(device_row_clear) struct device_row row = {0};
    struct err err;
    if (store_device_get(service->store, leftover->name, &row, &err) != 0)
        return err.code == ErrDeviceNotFound;
    if (strcmp(row.id, leftover->id) != 0 || row.state == DEVICE_ROW_ATTACHED)
        return true;
    device_row_finish(service, &row, &err);
    return false; /* the next round finds the row deleted */
}

static void leftover_keep(struct service *service, const struct device_row *row,
                          const struct err *failure)
{
    leftovers_add(service, leftover_retry, row->id, row->name, failure);
}

/* The header of a clone has the device's id. */
static int image_discard(struct service *service, const struct device_row *row, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    id_bytes(row->id, id);
    return row->origin_how
               ? block_overlay_discard_unused(service->block, row->image, row->directory_identity,
                                              row->format, id, err)
               : block_image_discard(service->block, row->image, row->directory_identity, id, err);
}

char *device_row_find_tree(struct service *service, const struct device_row *row, bool goes)
{
    struct err ignored;
    CLEANUP_BY(image_row_clear) struct image_row top = {0};
    if (!row->top_image || !(goes || row->read_only))
        return NULL;
    if (store_image_get(service->store, row->top_image, &top, &ignored) <= 0)
        return NULL;
    return steal(*(goes ? &top.backing : &top.path));
}

static int creation_discard(struct service *service, const struct device_row *row, struct err *err)
{
    struct err failure;
    if (image_discard(service, row, &failure) != 0) {
        leftover_keep(service, row, &failure);
        return 0;
    }
    CLEANUP_FREE char *tree = device_row_find_tree(service, row, true);
    if (device_row_write(service, store_device_delete, row, err) != 0)
        return -1;
    if (tree)
        delete_replan_later(service, tree);
    return 0;
}

/* Whether the top of a detach that was interrupted still is to go: 1, 0 if somebody needs it now,
 * or -1 and *err. */
static int top_is_to_go(struct service *service, const struct device_row *row, struct err *err)
{
    CLEANUP_FREE char *made_by = NULL;
    int ret = store_device_find_maker(service->store, row, &made_by, err);
    if (ret == 0 && strcmp(made_by, row->removed_by) == 0)
        return 1;
    if (ret != 0 && unsettled_is_due(err))
        return -1;
    log_warning("the image of device '%s' stays: %s", row->name,
                made_by ? "it is not known to be the one that was to go" : err->message);
    return 0;
}

static int top_remove(struct service *service, const struct device_row *row, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    id_bytes(row->removed_by, id);
    return block_overlay_forget(service->block, row->top, row->top_format, id, err) == 0
               ? block_overlay_discard_known(service->block, row->top, row->top_identity,
                                             row->top_format, id, err)
               : -1;
}

static int detach_finish(struct service *service, const struct device_row *row, struct err *err)
{
    struct err failure;
    struct device_row detached = *row;
    int goes = row->removed_by ? top_is_to_go(service, row, err) : 0;
    if (goes < 0)
        return -1;
    if (goes && top_remove(service, row, &failure) != 0) {
        leftover_keep(service, row, &failure);
        return 0;
    }
    if (!goes)
        detached.removed_by = NULL;
    CLEANUP_FREE char *tree = device_row_find_tree(service, row, goes);
    if (row_write_detached(service, store_device_delete, &detached, &origin_daemon, err) != 0)
        return -1;
    if (tree)
        delete_replan_later(service, tree);
    return 0;
}

int device_row_finish(struct service *service, const struct device_row *row, struct err *err)
{
    assert(row->state != DEVICE_ROW_ATTACHED);
    return row->state == DEVICE_ROW_CREATING ? creation_discard(service, row, err)
                                             : detach_finish(service, row, err);
}

int device_row_leave(struct service *service, const struct device_row *row, struct err *err)
{
    struct device_row left = *row;
    assert(row->state != DEVICE_ROW_ATTACHED);
    left.removed_by = NULL;
    return row->state == DEVICE_ROW_CREATING
               ? device_row_write(service, store_device_delete, &left, err)
               : row_write_detached(service, store_device_delete, &left, &origin_daemon, err);
}

static int removal_settle(struct service *service, struct unsettled *work, struct err *err)
{
    const struct device_row_change *removal = (const struct device_row_change *)work;
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    int found = change_look(service, removal, &now, err);
    if (found <= 0)
        return found;
    if (removal->row.state != DEVICE_ROW_CREATING)
        return row_write_detached(service, store_device_delete, &now, &removal->origin, err);
    if (now.state != DEVICE_ROW_CREATING) {
        now.state = DEVICE_ROW_CREATING;
        if (row_write_detached(service, store_device_update_state, &now, &removal->origin, err) !=
            0)
            return -1;
    }
    return creation_discard(service, &now, err);
}

struct device_row_change *device_removal_new(const struct device_row *row,
                                             const struct origin *origin, struct err *err)
{
    return change_new(row, origin, removal_settle, err);
}

static int staying_settle(struct service *service, struct unsettled *work, struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    int found = change_look(service, (const struct device_row_change *)work, &now, err);
    if (found <= 0 || now.state != DEVICE_ROW_DETACHING)
        return found < 0 ? -1 : 0;
    now.state = DEVICE_ROW_ATTACHED;
    free(steal(now.removed_by));
    return device_row_write(service, store_device_update_state, &now, err);
}

struct device_row_change *device_staying_new(const struct device_row *row, struct err *err)
{
    return change_new(row, &origin_daemon, staying_settle, err);
}

static int agreeing_settle(struct service *service, struct unsettled *work, struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    CLEANUP(allowed_clients) struct allowed_clients *clients = NULL;
    int found = change_look(service, (const struct device_row_change *)work, &now, err);
    if (found <= 0 || allowed_clients_parse(now.allowed_clients, &clients, err) != 0)
        return found == 0 ? 0 : -1;
    block_device_allow(service->block, now.name, clients);
    return 0;
}

struct device_row_change *device_agreeing_new(const struct device_row *row, struct err *err)
{
    return change_new(row, &origin_daemon, agreeing_settle, err);
}
