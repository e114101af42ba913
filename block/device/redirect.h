/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking an image out of all chains, under their requests. Private to block/.
 *
 *     X, Y, ...                 X, Y, ...     whatever stands on it: tops or frozen images
 *        |                         |
 *      upper                       |          upper and what is between are in no chain any more
 *        |           ---->         |
 *       ...                        |
 *        |                         |
 *      lower                     lower        gives the view that upper gave
 *
 *   V1. Before the call both give the same view, and all headers name `lower`: whoever opens a
 *       chain from then on does not find `upper`. No assert: only reading both would show.
 *   V2. A request that has begun may go on with the old chain; a change goes to the top, which is
 *       the same in both (but for chains that are read-only). No assert: it is the index's.
 *   V3. When the call returns, no device, and nobody who opens one, finds `upper`, or what is
 *       between, by any chain; who held it before (opening.h) asks for its size and state only. No
 *       assert: only the readers' counts know who looks.
 */
#ifndef BLOCK_DEVICE_REDIRECT_H
#define BLOCK_DEVICE_REDIRECT_H

#include "block/device/object.h"

/* Waits for requests of these chains that have begun, so on a storage that hangs for as long as
 * that does; no request waits, and openings are waited for only where they wait for nothing
 * (opening.h). 0: done. 1: a device is within a cut, or is being rolled back to a chain with
 * `upper`: the call is to be repeated once that has ended, for all that stands on `upper` then. -1
 * and *err (OutOfResources): to be repeated too. In each case all chains give what they gave.
 * *locked_us, unless it is NULL: how long the locks of all devices were held, which only cuts, and
 * changes of the list of devices, wait for. */
int redirect_chains(struct block *block, struct node *upper, struct node *lower,
                    uint64_t *locked_us, struct err *err);

#endif
