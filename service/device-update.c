/* SPDX-License-Identifier: Apache-2.0
 *
 * See device-update.h.
 */
#include "service/device-update.h"

#include "service/allowed-clients.h"
#include "service/context.h"
#include "service/device-change.h"
#include "service/events.h"
#include "service/names.h"
#include "service/resizes.h"

#include <string.h>

static bool text_is_same(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

/* 1: done; 0: the row was changed meanwhile; -1. */
static int row_write(struct service *service, const struct device_row *row,
                     const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? store_device_update(transaction, row, err) : -1;
    if (changed <= 0)
        return changed;
    if (event_record(transaction, origin, EVENT_DEVICE_UPDATED, row->name, NULL, err) != 0 ||
        store_commit(steal(transaction), err) != 0)
        return -1;
    return 1;
}

/* The same, with the clients that the block layer admits. */
static int row_write_with_clients(struct service *service, const struct device_row *row,
                                  const struct origin *origin, struct err *err)
{
    struct err later;
    CLEANUP(allowed_clients) struct allowed_clients *clients = NULL;
    CLEANUP(device_row_change) struct device_row_change *agreeing = device_agreeing_new(row, err);
    if (!agreeing || allowed_clients_parse(row->allowed_clients, &clients, err) != 0)
        return -1;
    int done = row_write(service, row, origin, err);
    if (done > 0)
        block_device_allow(service->block, row->name, clients);
    else if (done < 0 && err->code == ErrStoreFailed)
        device_row_change_settle(service, steal(agreeing), &later);
    return done;
}

/* Reads the row, for which the change's condition holds. */
static int device_row_read(struct service *service, const char *name,
                           const struct device_changes *change, struct device_row *row,
                           struct err *err)
{
    if (store_device_get(service->store, name, row, err) != 0)
        return -1;
    if (row->state == DEVICE_ROW_CREATING)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    return condition_check(change->condition, row->id, row->revision, err);
}

/* As row_write(). */
static int device_change_try(struct service *service, const char *name,
                             const struct device_changes *change, struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row row = {0}, before = {0};
    if (device_row_read(service, name, change, &row, err) != 0 ||
        device_row_copy(&before, &row, err) != 0 || change->apply(change->context, &row, err) != 0)
        return -1;
    if (!text_is_same(row.allowed_clients, before.allowed_clients))
        return row_write_with_clients(service, &row, change->origin, err);
    return text_is_same(row.labels, before.labels) ? 1
                                                   : row_write(service, &row, change->origin, err);
}

/* Gives the device the size, if the rest of the change can be made. A group may change the row
 * until the device is held: then the condition is asked again. 1: done, which changes the row; 0:
 * it has that size; -1. */
static int device_change_size(struct service *service, const char *name,
                              const struct device_changes *change, struct err *err)
{
    for (;;) {
        CLEANUP_BY(device_row_clear) struct device_row row = {0};
        if (device_row_read(service, name, change, &row, err) != 0 ||
            change->apply(change->context, &row, err) != 0)
            return -1;
        const uint64_t revision = change->condition ? row.revision : 0;
        int done = resize_run(service, name, change->size_bytes, revision, change->origin, err);
        if (done >= 0 || !revision || err->code != ErrPreconditionFailed)
            return done;
    }
}

int devices_change(struct service *service, const char *name, const struct device_changes *change,
                   struct device_view *view, struct err *err)
{
    int done = 0, resized = 0;
    struct device_changes rest = *change;
    *view = (struct device_view){0};
    NAME_HOLD(service, name);
    if (change->size_bytes && (resized = device_change_size(service, name, change, err)) < 0)
        return -1;
    if (resized)
        rest.condition = NULL; /* it held, and the name is held */
    while (done == 0)
        done = device_change_try(service, name, &rest, err);
    return done > 0 ? devices_get(service, name, view, err) : -1;
}
