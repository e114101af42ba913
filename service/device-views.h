/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices as they are read: one, or a page of the list. Any thread.
 */
#ifndef SERVICE_DEVICE_VIEWS_H
#define SERVICE_DEVICE_VIEWS_H

#include "block/block.h"
#include "store/devices.h"

struct service;

/* What is remembered about a device and what it is now. */
struct device_view {
    struct device_row row;
    struct device_info info;
    bool needs_tls;             /* device_row_needs_tls() */
    struct keeper_row *keepers; /* of the images of its chain, apart from the device itself */
    size_t keeper_count;
};
void device_view_clear(struct device_view *view);
void device_views_free(struct device_view *views, size_t count);

/* Whether a client needs TLS for the device's export at the address that is reported, now: a reload
 * may change it. */
bool device_row_needs_tls(const struct service *service, const struct device_row *row);

/* Fills in all of a view but its row; without `may_wait` not the storage's latest. DeviceNotFound,
 * OutOfResources, StoreFailed. */
int device_view_fill(struct service *service, struct device_view *view, bool may_wait,
                     struct err *err);

int devices_get(struct service *service, const char *name, struct device_view *view,
                struct err *err);

/* Up to `limit` devices after the name `after` (NULL: from the first); *more: others follow, and
 * `last` is the name to continue after. */
int devices_list(struct service *service, const char *after, size_t limit,
                 struct device_view **views, size_t *count, bool *more,
                 char last[DEVICE_NAME_MAX + 1], struct err *err);

#endif
