/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices: attach, create, list, detach. The store's row and the block layer's device are changed
 * in an order that lets a restart finish or undo whatever was under way:
 *
 *   attach   open (block), insert the row, publish: before the row there is nothing to remember
 *   create   insert the row CREATING, make the image, open it, row ATTACHED, settle the image,
 *            publish: a row that says CREATING means that the image is to be taken away
 *   detach   row DETACHING, flush and close (block), delete the row: a row that says DETACHING means that
 *            the device goes, now or at the restart; if it cannot be closed it says ATTACHED again. A
 *            detach that is refused leaves everything as it was
 *
 * Any thread. Changes of one name happen one at a time.
 */
#ifndef SERVICE_DEVICES_H
#define SERVICE_DEVICES_H

#include "block/block.h"
#include "store/store.h"

struct service;

/* What a client asks for; strings are borrowed. */
struct device_request {
    const char *name;
    const char *image;
    const char *format;
    const char *labels; /* JSON text */
    bool read_only;
    bool discard_unflushed; /* without `create` */
    bool create;
    uint64_t size_bytes;          /* with `create` */
    struct cluster_shape created; /* with `create`, of a format that has clusters */
    struct cluster_shape overlay; /* of the overlays to come */
};

/* What is remembered about a device and what it is now. */
struct device_view {
    struct device_row row;
    struct device_info info;
};
void device_view_clear(struct device_view *view);
void device_views_free(struct device_view *views, size_t count);

/* Codes: DeviceExists, DeviceInUse, OpenFileFailed, InvalidBlockFormat, UnflushedData, StoreFailed,
 * OutOfResources; InvalidValue: the clusters are too small for the size. */
int devices_add(struct service *service, const struct device_request *request,
                struct device_view *view, struct err *err);

/* `discard_unflushed`: what cannot be flushed is given up. Codes: DeviceNotFound, DeviceInUse, UnflushedData,
 * StoreFailed. */
int devices_remove(struct service *service, const char *name, bool discard_unflushed,
                   struct err *err);

int devices_get(struct service *service, const char *name, struct device_view *view,
                struct err *err);

/* Up to `limit` devices after the name `after` (NULL: from the first); *more says whether others
 * follow, and `last` gets the name to go on after. */
int devices_list(struct service *service, const char *after, size_t limit,
                 struct device_view **views, size_t *count, bool *more,
                 char last[DEVICE_NAME_MAX + 1], struct err *err);

/* Opens the device of a row and publishes it, or a failed one in its place. For recovery. */
void devices_restore(struct service *service, const struct device_row *row);

/* Takes away the image of a row that says CREATING, then the row. For recovery, and undoing.
 * StoreFailed. */
int devices_discard(struct service *service, const struct device_row *row, struct err *err);

#endif
