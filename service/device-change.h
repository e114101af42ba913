/* SPDX-License-Identifier: Apache-2.0
 *
 * A change of a device's row that has to happen, now or as soon as the store can be written
 * (unsettled.h). It is allocated before the attempt that may need it, so that undoing never lacks
 * memory. Used by devices.c and recovery.c.
 */
#ifndef SERVICE_DEVICE_CHANGE_H
#define SERVICE_DEVICE_CHANGE_H

#include "base/cleanup.h"
#include "service/events.h"
#include "service/unsettled.h"
#include "store/devices.h"
#include "store/store.h"

struct service;

struct device_row_change {
    struct unsettled unsettled; /* first: the queue hands it back */
    struct device_row row;      /* id, state, name, image */
    struct origin origin;
};

/* The device goes: its row is deleted, together with its image if that is being created. NULL and
 * *err (OutOfResources), like the next one. */
struct device_row_change *device_removal_new(const struct device_row *row,
                                             const struct origin *origin, struct err *err);

/* The device stays: its row says ATTACHED again. */
struct device_row_change *device_staying_new(const struct device_row *row, struct err *err);

/* The block layer's list of the device's clients becomes that of the row. */
struct device_row_change *device_agreeing_new(const struct device_row *row, struct err *err);

void device_row_change_free(struct device_row_change *change);
CLEANUP_DEFINE(device_row_change, struct device_row_change *, device_row_change_free)

/* Consumes the change. -1 and *err: it is queued. */
int device_row_change_settle(struct service *service, struct device_row_change *change,
                             struct err *err);

/* An image of the tree that is to be planned again once the device is gone (deletes.h), with its
 * top if `goes`: heap, or NULL if it is a device that keeps what it had. */
char *device_row_find_tree(struct service *service, const struct device_row *row, bool goes);

/* Of a device that the block layer does not have. Deletes a row that says CREATING, and its image;
 * or one that says DETACHING, and the image that was to go with it, unless somebody needs that now.
 * Its tree is planned again. An image that cannot be removed is retried (leftovers.h), and the row
 * stays. StoreFailed. */
int device_row_finish(struct service *service, const struct device_row *row, struct err *err);

/* Deletes such a row, and leaves the image where it may be. StoreFailed. */
int device_row_leave(struct service *service, const struct device_row *row, struct err *err);

/* Makes one change of a device's row, in a transaction of its own. The errors of the query and of
 * the store. */
int device_row_write(struct service *service,
                     int query(struct store_transaction *, const struct device_row *, struct err *),
                     const struct device_row *row, struct err *err);

/* Inserts the row of a device that is attached, with its event and the key of the request. */
int device_row_insert_attached(struct service *service, const struct device_row *row,
                               const struct origin *origin, struct err *err);

#endif
