/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `devices`: rows and queries. See store.h for their rules, and images.h for what is
 * recorded of a device's chain.
 */
#ifndef STORE_DEVICES_H
#define STORE_DEVICES_H

#include "base/err.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_transaction;

void device_row_clear(struct device_row *row);
int device_row_copy(struct device_row *to, const struct device_row *from,
                    struct err *err); /* OutOfResources */

/* Records also row->chain, unless the device is being created; of a chain that is not given only
 * the top. Of a clone that is being created, its image and what that is put on. DeviceExists;
 * GroupNotFound: the group that a clone is of is not committed; DeviceInUse: other images or a
 * device need the file that was at the path of its image. */
int store_device_insert(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err);

/* Of the device with row->id: its state becomes row->state; an identity that is not NULL is
 * recorded, that of the top only while this is row->top, and so is a chain that is given. A device
 * that is being created again has none. DeviceNotFound; if the top is to go, and a job merges it,
 * DeviceInUse or GroupDeleting. */
int store_device_update_state(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err);

/* Of the device with row->id, if it still has row->revision: its labels and allowed clients become
 * those of the row. 1; 0: not so, or it is gone; -1: *err. */
int store_device_update(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err);

/* Whether the device with row->id has row->revision, for a change in the same transaction.
 * PreconditionFailed. */
int store_device_check_revision(struct store_transaction *transaction, const struct device_row *row,
                                struct err *err);

/* Records the chain that the device with row->id has open; row->top_image is as it was read.
 * DeviceNotFound. */
int store_device_update_chain(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err);

/* The device with row->id. Its top is kept, unless row->removed_by is set: then the file is gone.
 * DeviceNotFound. */
int store_device_delete(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err);

int store_device_get(struct store *store, const char *name, struct device_row *row,
                     struct err *err); /* DeviceNotFound */

/* The id in the header of the device's top (heap), if this daemon made that, and nothing but the
 * device needs it. ImageIsKept: not so; DeviceInUse: a group is about to freeze it. */
int store_device_find_maker(struct store *store, const struct device_row *row, char **made_by,
                            struct err *err);

/* Another number after each change of a row, also if its outcome is unknown; never 0. What was read
 * after this returned a number is right for as long as it returns the same. */
uint64_t store_devices_generation(const struct store *store);

/* By id. */
int store_device_get_by_id(struct store *store, const char *id, struct device_row *row,
                           struct err *err); /* DeviceNotFound */

/* Up to `limit` attached devices that have all of `labels` (a JSON object of texts), by name; as
 * the next one. */
int store_device_select(struct store *store, const char *labels, size_t limit,
                        struct device_row **rows, size_t *count, struct err *err);

/* Up to `limit` rows with names after `after` (NULL: from the first), by name. *rows is heap; free
 * with device_rows_free. */
int store_device_list(struct store *store, const char *after, size_t limit,
                      struct device_row **rows, size_t *count, struct err *err);
void device_rows_free(struct device_row *rows, size_t count);

#endif
