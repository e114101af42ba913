/* SPDX-License-Identifier: Apache-2.0
 *
 * Long work that writes an image neither fills the page cache with what is to be written nor waits
 * for all of it at its end: write-back is begun every few megabytes, and awaited when much is
 * outstanding. Private to job/; one thread.
 */
#ifndef BLOCK_JOB_WRITE_BACK_H
#define BLOCK_JOB_WRITE_BACK_H

#include "block/image/node.h"

/* Zeroed: nothing was written. */
struct write_back {
    uint64_t written_bytes;     /* since it was begun last */
    uint64_t outstanding_bytes; /* of which the end was not awaited */
};

/* So many bytes of the node were written. 1: no write-back is outstanding, as far as it could be
 * asked for; 0; -errno: it failed. */
int write_back_pace(struct write_back *write_back, struct node *node, uint64_t bytes);

/* What a failed write-back or flush of the node means for its work. Returns -1. UnflushedData after
 * a failed sync, else OpenFileFailed. */
int write_back_report(const struct node *node, int ret, struct err *err);

#endif
