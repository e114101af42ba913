/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store knows of the chains of image files (store/images.h). A chain is recorded when its
 * device is attached or created. Rows from an older daemon do not know what is under the last image
 * of a chain: it is filled in by a start, which also records a chain that was changed while the
 * daemon did not run.
 */
#ifndef SERVICE_IMAGES_H
#define SERVICE_IMAGES_H

#include "block/block.h"
#include "store/row.h"

struct service;

/* Fills row->chain, once, from the report of the open device. OutOfResources. */
int images_fill_chain(struct device_row *row, const struct device_info *info, struct err *err);

/* Records the chain of an open device where the store has another one. Failures are logged. */
void images_restore(struct service *service, const struct device_row *row);

/* Looks up what is not known of images that no device has open. An image that is unavailable is
 * logged, and stays as it is. StoreFailed. */
int images_complete(struct service *service, struct err *err);

#endif
