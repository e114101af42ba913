/* SPDX-License-Identifier: Apache-2.0
 *
 * The use cases of devices. See devices.h for the order of steps and why.
 */
#include "service/devices.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/names.h"
#include "service/service.h"
#include "service/unsettled.h"

#include <stdio.h>
#include <string.h>

void device_view_clear(struct device_view *view)
{
    device_row_clear(&view->row);
    device_info_clear(&view->info);
}

void device_views_free(struct device_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        device_view_clear(&views[i]);
    free(views);
}

static struct device_spec device_row_spec(const struct device_row *row)
{
    return (struct device_spec){.name = row->name,
                                .image = row->top,
                                .format = row->top_format,
                                .read_only = row->read_only,
                                .overlay = {row->cluster_size_bytes, row->extended_l2}};
}

/* ---- undoing and removing ---- */

/* A row that is to go, with the image if it was created along with it. */
struct removal {
    struct unsettled unsettled; /* first: the queue hands it back */
    struct device_row row;      /* id, name, image */
};

static void removal_free(struct unsettled *work)
{
    struct removal *removal = (struct removal *)work;
    device_row_clear(&removal->row);
    free(removal);
}

int devices_discard(struct service *service, const struct device_row *row, struct err *err)
{
    unsigned char id[GROUP_ID_BYTES];
    struct err failure;
    id_bytes(row->id, id);
    if (block_image_discard(service->block, row->image, id, &failure) != 0) {
        log_error("device '%s' was not created, but its image stays: %s; a restart tries again",
                  row->name, failure.message);
        return 0;
    }
    return store_device_delete(service->store, row->name, err);
}

static int removal_settle(struct service *service, struct unsettled *work, struct err *err)
{
    const struct removal *removal = (const struct removal *)work;
    const struct device_row *gone = &removal->row;
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    if (store_device_get(service->store, gone->name, &now, err) != 0)
        return err->code == ErrStoreFailed ? -1 : 0;
    if (strcmp(now.id, gone->id) != 0)
        return 0;
    if (gone->state != DEVICE_ROW_CREATING)
        return store_device_delete(service->store, gone->name, err);
    if (now.state != DEVICE_ROW_CREATING) {
        now.state = DEVICE_ROW_CREATING;
        if (store_device_update_state(service->store, &now, err) != 0)
            return -1;
    }
    return devices_discard(service, &now, err);
}

/* Removes the row, now or as soon as the store can be written; takes id, state, name and image from
 * `row`, and the image goes too if `row` says CREATING. StoreFailed if it has to wait. */
static int device_row_remove(struct service *service, const struct device_row *row, struct err *err)
{
    struct removal *removal = calloc(1, sizeof(*removal));
    if (removal) {
        removal->unsettled.settle = removal_settle;
        removal->unsettled.free = removal_free;
        memcpy(removal->row.id, row->id, sizeof(row->id));
        removal->row.state = row->state;
        removal->row.name = strdup(row->name);
        removal->row.image = strdup(row->image);
    }
    if (!removal || !removal->row.name || !removal->row.image) {
        if (removal)
            removal_free(&removal->unsettled);
        return err_set(err, ErrOutOfResources, 0, "there is no memory to remove device '%s'",
                       row->name);
    }
    if (unsettled_settle(service, &removal->unsettled, err) != 0)
        return -1;
    removal_free(&removal->unsettled);
    return 0;
}

/* Takes away whatever a failed attempt left: the device if it was opened, the row, a created image.
 * Always returns -1, so that the attempt can end in it; the caller's error stands. */
static int device_undo(struct service *service, const struct device_row *row, bool opened)
{
    struct err err;
    if (opened && block_device_abandon(service->block, row->name, false, &err) != 0)
        log_error("device '%s' was not attached, but cannot be closed: %s", row->name, err.message);
    if (device_row_remove(service, row, &err) != 0)
        log_error("device '%s' was not attached, but may come back: %s", row->name, err.message);
    return -1;
}

/* ---- adding ---- */

static int device_row_fill(struct service *service, const struct device_request *request,
                           struct device_row *row, struct err *err)
{
    row->image = block_resolve(service->block, request->image, err);
    if (!row->image)
        return -1;
    id_new(row->id);
    row->state = request->create ? DEVICE_ROW_CREATING : DEVICE_ROW_ATTACHED;
    row->name = strdup(request->name);
    row->format = strdup(request->format);
    row->top = strdup(row->image);
    row->top_format = strdup(request->format);
    row->labels = strdup(request->labels);
    row->read_only = request->read_only;
    row->cluster_size_bytes = request->overlay.cluster_bytes;
    row->extended_l2 = request->overlay.extended_l2;
    row->created_at_us = clock_now_us();
    if (!row->name || !row->format || !row->top || !row->top_format || !row->labels)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for device '%s'",
                       request->name);
    return 0;
}

static int device_attach(struct service *service, const struct device_row *row,
                         bool discard_unflushed, struct err *err)
{
    struct device_spec spec = device_row_spec(row);
    spec.discard_unflushed = discard_unflushed;
    if (block_device_open(service->block, &spec, err) != 0)
        return -1;
    if (store_device_insert(service->store, row, err) != 0)
        return device_undo(service, row, true);
    return 0;
}

static int device_create_image(struct service *service, const struct device_row *row,
                               const struct device_request *request, struct err *err)
{
    unsigned char id[GROUP_ID_BYTES];
    struct device_spec spec = device_row_spec(row);
    uint64_t size_bytes = (request->size_bytes + 511) / 512 * 512;
    id_bytes(row->id, id);
    if (store_device_insert(service->store, row, err) != 0)
        return err->code == ErrStoreFailed ? device_undo(service, row, false) : -1;
    if (block_image_create(service->block, row->image, row->format, size_bytes, &request->created,
                           id, err) != 0 ||
        block_device_open(service->block, &spec, err) != 0)
        return device_undo(service, row, false);
    struct device_row attached = *row;
    attached.state = DEVICE_ROW_ATTACHED;
    if (store_device_update_state(service->store, &attached, err) != 0 ||
        block_image_settle(service->block, row->image, id, err) != 0)
        return device_undo(service, row, true);
    return 0;
}

int devices_add(struct service *service, const struct device_request *request,
                struct device_view *view, struct err *err)
{
    NAME_HOLD(service, request->name);
    *view = (struct device_view){0};
    if (device_row_fill(service, request, &view->row, err) != 0)
        return -1;
    if ((request->create
             ? device_create_image(service, &view->row, request, err)
             : device_attach(service, &view->row, request->discard_unflushed, err)) != 0)
        return -1;
    view->row.state = DEVICE_ROW_ATTACHED;
    block_device_publish(service->block, request->name);
    return block_device_info(service->block, request->name, &view->info, err);
}

/* ---- detaching ---- */

int devices_remove(struct service *service, const char *name, bool discard_unflushed,
                   struct err *err)
{
    NAME_HOLD(service, name);
    CLEANUP_BY(device_row_clear) struct device_row row = {0};
    if (store_device_get(service->store, name, &row, err) != 0)
        return -1;
    struct err closing;
    if ((discard_unflushed ? block_device_abandon(service->block, name, true, &closing)
                           : block_device_close(service->block, name, &closing)) != 0 &&
        closing.code != ErrDeviceNotFound) {
        *err = closing;
        return -1;
    }
    return device_row_remove(service, &row, err);
}

/* ---- reading ---- */

int devices_get(struct service *service, const char *name, struct device_view *view,
                struct err *err)
{
    *view = (struct device_view){0};
    if (store_device_get(service->store, name, &view->row, err) != 0)
        return -1;
    if (view->row.state == DEVICE_ROW_CREATING)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    return block_device_info(service->block, name, &view->info, err);
}

/* Moves what can be shown from rows to views: not devices that are just coming or going. */
static int device_views_fill(struct service *service, struct device_row *rows, size_t row_count,
                             struct device_view *views, size_t *count, struct err *err)
{
    for (size_t i = 0; i < row_count; i++) {
        struct device_view *view = &views[*count];
        if (rows[i].state == DEVICE_ROW_CREATING)
            continue;
        if (block_device_info(service->block, rows[i].name, &view->info, err) != 0) {
            if (err->code != ErrDeviceNotFound)
                return -1;
            continue;
        }
        view->row = rows[i];
        rows[i] = (struct device_row){0};
        (*count)++;
    }
    return 0;
}

int devices_list(struct service *service, const char *after, size_t limit,
                 struct device_view **views, size_t *count, bool *more,
                 char last[DEVICE_NAME_MAX + 1], struct err *err)
{
    struct device_row *rows;
    size_t row_count;
    if (store_device_list(service->store, after, limit + 1, &rows, &row_count, err) != 0)
        return -1;
    *more = row_count > limit;
    if (*more)
        snprintf(last, DEVICE_NAME_MAX + 1, "%s", rows[limit - 1].name);
    *count = 0;
    *views = calloc(limit, sizeof(**views));
    int result =
        *views ? device_views_fill(service, rows, *more ? limit : row_count, *views, count, err)
               : err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
    device_rows_free(rows, row_count);
    if (result != 0)
        device_views_free(*views, *count);
    return result;
}

/* ---- restart ---- */

void devices_restore(struct service *service, const struct device_row *row)
{
    struct device_spec spec = device_row_spec(row);
    struct err err, second;
    spec.is_restored = true;
    if (block_device_open(service->block, &spec, &err) != 0) {
        log_error("device '%s' has failed and is not served: %s", row->name, err.message);
        if (block_device_open_failed(service->block, &spec, err.message, &second) != 0) {
            log_error("device '%s' cannot even be shown: %s", row->name, second.message);
            return;
        }
    }
    block_device_publish(service->block, row->name);
}
