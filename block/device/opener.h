/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the chain of a device, a frozen member or a group. Private to block/. Any thread.
 *
 * A file may be part of several chains at once as long as none writes it; opener_admit() checks
 * this for each file before anything of it is read (file-table.h). Such an image is open once.
 *
 * Who opens a chain is one of block->walkers until the device that it is for is in its list: so
 * whoever shortens chains finds all of them there.
 */
#ifndef BLOCK_DEVICE_OPENER_H
#define BLOCK_DEVICE_OPENER_H

#include "block/block.h"
#include "block/device/object.h"
#include "block/image/chain.h"
#include "block/image/journal-recovery.h"

/* The opener of a chain and the terms it accepts: a chain_guard's `arg` for opener_admit(). */
struct opener {
    struct block *block;
    struct recovery_terms terms;
    const char *identity; /* of the top, as recorded; NULL or "": unknown */
};

/* Admits one file: checks the identity of a top, claims the file, rejects a writer of a frozen
 * file, replays its journal. Codes: as of block_device_open(). */
int opener_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                 struct node **node, struct err *err);

/* Opens the chain of a device, with a journal if it is writable; released by node_give_up(). NULL
 * and *err as of block_device_open(). */
struct node *opener_open_chain(struct block *block, const struct device *device,
                               const struct device_spec *spec, struct err *err);

/* 0 if the path of every image of the chain still leads to the open file; else OpenFileFailed. */
int opener_check_in_place(const struct node *top, struct err *err);

/* The files of the chain that are not frozen yet, top to base; *files is heap, freed by
 * frozen_files_free(). -1: out of memory. */
int opener_list_unfrozen(struct block *block, const struct node *top, struct frozen_file **files,
                         size_t *count);

#endif
