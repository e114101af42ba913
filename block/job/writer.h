/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes an image in a thread of its own: while a batch of pieces is written, the caller reads the
 * next one. Private to job/; one caller at a time.
 */
#ifndef BLOCK_JOB_WRITER_H
#define BLOCK_JOB_WRITER_H

#include "block/image/node.h"

enum { WRITER_BYTES = 1 << 20 }; /* of a batch */

struct writer;

/* NULL when memory is short. Without room for a thread the caller writes. */
struct writer *writer_new(struct node *node);

/* What is being written is written; what is not, is not any more. NULL is allowed. */
void writer_free(struct writer *writer);

/* Room for a piece of at most WRITER_BYTES. May begin to write the pieces before, after those
 * that are being written have ended. NULL: a write has failed, as writer_await() says. */
void *writer_room(struct writer *writer, struct disk_range piece);

/* The piece for which there was room last is to be written; past the page cache if clients do not
 * read it. */
void writer_add(struct writer *writer, struct disk_range piece, bool is_read);

/* All pieces are written: 0, or -errno of the first that failed; none after that is written. */
int writer_await(struct writer *writer);

#endif
