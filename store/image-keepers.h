/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps the images of a chain apart from the device that has it open: why an image is there
 * that nobody seems to need. See store.h for the rules of queries.
 */
#ifndef STORE_IMAGE_KEEPERS_H
#define STORE_IMAGE_KEEPERS_H

#include "base/err.h"
#include "store/row.h"

#include <stddef.h>

struct store;

/* Those of each image of the chain, paths from top to base: the group that froze it; other devices
 * whose top it is; and of what else is on top of it other devices, groups, tops of detached
 * devices. Of these at most STORE_KEEPERS_MAX, then KEEPER_OTHERS. `device_id`: the device that has
 * the chain. *rows is heap; free with keeper_rows_free. */
int store_image_keepers(struct store *store, const char *const *chain, size_t length,
                        const char *device_id, struct keeper_row **rows, size_t *count,
                        struct err *err);
void keeper_rows_free(struct keeper_row *rows, size_t count);

#endif
