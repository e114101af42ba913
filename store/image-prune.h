/* SPDX-License-Identifier: Apache-2.0
 *
 * Deleting the rows of images that stand alone: disks that were detached. Called by devices.c
 * alone, within its transaction. Private to store/.
 */
#ifndef STORE_IMAGE_PRUNE_H
#define STORE_IMAGE_PRUNE_H

#include "store/access.h"

/* Deletes a few of the oldest of them, but for the newest rows. */
int images_prune(struct store_transaction *transaction, struct err *err);

#endif
