/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the chain of a device, a frozen member or a group. Private to block/. Any thread.
 *
 * A file may be part of several chains at once as long as none writes it; opener_admit() checks
 * this for each file before anything of it is read (file-table.h). Such an image is open once.
 *
 * All is done within an opening (opening.h) of the caller's, which ends once the device that the
 * chain is for is in its list: so whoever shortens chains finds all of them there.
 */
#ifndef BLOCK_DEVICE_OPENER_H
#define BLOCK_DEVICE_OPENER_H

#include "block/block.h"
#include "block/device/held-chain.h"
#include "block/device/object.h"
#include "block/device/opening.h"
#include "block/frozen.h"
#include "block/image/chain.h"

/* Opens an image that is only read, with all beneath it. `identity`: of the image, as recorded;
 * NULL or "": unknown. A reference, or NULL and *err as of block_device_open(). */
struct node *opener_open_image(struct opening *opening, const char *image, const char *format,
                               const char *identity, struct err *err);

/* Opens the chain of a device, with a journal if it is writable; released by node_give_up(). NULL
 * and *err as of block_device_open(). */
struct node *opener_open_chain(struct opening *opening, const struct device *device,
                               const struct device_spec *spec, struct err *err);

/* 0 if the path of every image of the chain still leads to the open file; else OpenFileFailed. */
int opener_check_in_place(const struct held_chain *chain, struct err *err);

/* The files of the chain that are not frozen yet, top to base; *files is heap, freed by
 * frozen_files_free(). -1: out of memory. */
int opener_list_unfrozen(struct block *block, const struct node *top, struct frozen_file **files,
                         size_t *count);

#endif
