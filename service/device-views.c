/* SPDX-License-Identifier: Apache-2.0
 *
 * See device-views.h. A view is filled from a row, then by the block layer, then by the images of
 * its chain. A device that goes meanwhile is in no list.
 */
#include "service/device-views.h"

#include "service/context.h"
#include "store/image-keepers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void device_view_clear(struct device_view *view)
{
    device_row_clear(&view->row);
    device_info_clear(&view->info);
    keeper_rows_free(steal(view->keepers), view->keeper_count);
}

void device_views_free(struct device_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        device_view_clear(&views[i]);
    free(views);
}

static int device_view_find_keepers(struct service *service, struct device_view *view,
                                    struct err *err)
{
    const struct device_info *info = &view->info;
    CLEANUP_FREE const char **chain = calloc(info->chain_length + 1, sizeof(*chain));
    if (!chain)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for device '%s'",
                       view->row.name);
    for (size_t i = 0; i < info->chain_length; i++)
        chain[i] = info->chain[i].image;
    return store_image_keepers(service->store, chain, info->chain_length, view->row.id,
                               &view->keepers, &view->keeper_count, err);
}

bool device_row_needs_tls(const struct service *service, const struct device_row *row)
{
    return row->allowed_clients || block_nbd_needs_tls(service->block);
}

int device_view_fill(struct service *service, struct device_view *view, bool may_wait,
                     struct err *err)
{
    const char *name = view->row.name;
    view->needs_tls = device_row_needs_tls(service, &view->row);
    int result = may_wait ? block_device_info(service->block, name, &view->info, err)
                          : block_device_info_known(service->block, name, &view->info, err);
    return result == 0 ? device_view_find_keepers(service, view, err) : -1;
}

int devices_get(struct service *service, const char *name, struct device_view *view,
                struct err *err)
{
    *view = (struct device_view){0};
    if (store_device_get(service->store, name, &view->row, err) != 0)
        return -1;
    if (view->row.state == DEVICE_ROW_CREATING)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    return device_view_fill(service, view, true, err);
}

static size_t device_view_bytes(const struct device_view *view)
{
    size_t bytes = sizeof(*view) + strlen(view->row.labels);
    bytes += view->row.allowed_clients ? strlen(view->row.allowed_clients) : 0;
    for (size_t i = 0; i < view->info.chain_length; i++)
        bytes += sizeof(view->info.chain[i]) + strlen(view->info.chain[i].image);
    for (size_t i = 0; i < view->keeper_count; i++)
        bytes += strlen(view->keepers[i].name);
    return bytes;
}

/* Moves rows to views, except devices that are being created or closed. Ends early at the size
 * limit of a page; *used: rows consumed; `last`: the name of the last of these. */
static int device_views_fill(struct service *service, struct device_row *rows, size_t row_count,
                             struct device_view *views, size_t *count, size_t *used,
                             char last[DEVICE_NAME_MAX + 1], struct err *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < row_count && bytes <= STORE_PAGE_BYTES_MAX; i++) {
        *used = i + 1;
        snprintf(last, DEVICE_NAME_MAX + 1, "%s", rows[i].name);
        struct device_view *view = &views[*count];
        if (rows[i].state == DEVICE_ROW_CREATING)
            continue;
        view->row = rows[i];
        rows[i] = (struct device_row){0};
        if (device_view_fill(service, view, false, err) != 0) {
            device_view_clear(view);
            if (err->code != ErrDeviceNotFound)
                return -1;
            continue;
        }
        bytes += device_view_bytes(view);
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
    size_t shown = row_count > limit ? limit : row_count, used = 0;
    *count = 0;
    *views = calloc(limit, sizeof(**views));
    int result = *views ? device_views_fill(service, rows, shown, *views, count, &used, last, err)
                        : err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
    *more = row_count > used;
    device_rows_free(rows, row_count);
    if (result != 0)
        device_views_free(*views, *count);
    return result;
}
