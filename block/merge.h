/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging: a frozen image, `upper`, is pushed into a frozen image beneath it, `base`, which then
 * gives the view that `upper` gave, and takes its place everywhere.
 *
 *   merge_open --> merge_begin --> merge_copy, merge_flush, ...  until all is pushed and durable
 *              --> merge_rename      of each image that stands on upper: its header names base
 *              --> merge_redirect     open chains and exports go on with base
 *              --> merge_end          base is frozen again
 *              --> merge_close        at any time, but after merge_begin() only after merge_end(),
 *                                     which may have failed
 *
 * The caller records how far it is, before merge_begin() and after each step that is durable, and
 * goes on there after a restart, when all was flushed without merge_begin(): each step may be
 * repeated. Until the last one all devices give
 * what they gave, by path and by open chains, at any moment and after a power loss:
 *
 *   M1. Base is written only where upper, or an image between the two, holds data or zeros, which
 *       are durable: nobody above upper sees what base holds there. No assert here: merge.c has it.
 *   M2. The view of upper, and of whatever stands on it, is always the same. No assert: all would
 *       have to be read.
 *   M3. The caller answers for that nobody needs base, and that nothing but the next image above
 *       stands on it. No assert: only the store knows.
 *
 * One thread at a time uses a merge. All may block on disks, none holds a guest's request.
 */
#ifndef BLOCK_MERGE_H
#define BLOCK_MERGE_H

#include "block/block.h"

struct merge;

enum { MERGE_PIECE_BYTES = 256 << 10 };

struct merge_image {
    const char *path; /* absolute */
    const char *format;
    const char *identity; /* NULL: not known */
};

struct merge_size {
    uint64_t copy_bytes; /* what is pushed */
    uint64_t new_bytes;  /* at most that much of it takes space that base does not have yet */
    uint64_t free_bytes; /* of base's file system, for this process */
    uint64_t disk_bytes; /* of upper's view: where merge_copy() ends */
};

/* Opens the chain of upper, or takes it as it is open: to be measured it may be the top of a
 * device, which is frozen before anything else. Nothing is changed. NULL and *err: NotRelated (base
 * is not in it), InvalidValue (base is larger, cannot become as large as upper, or has hard
 * links), and as block_device_open(). */
struct merge *merge_open(struct block *block, const struct merge_image *base,
                         const struct merge_image *upper, struct err *err);
void merge_close(struct merge *merge);

int merge_measure(struct merge *merge, struct merge_size *size, struct err *err);

/* Whether the header of `child`, which stands on upper, has room for base's name: InvalidValue. */
int merge_can_rename(struct merge *merge, const struct merge_image *child, struct err *err);

/* Makes base writable, and as large as upper. Codes: as node_thaw() in freeze.h and node_grow() in
 * amend.h. */
int merge_begin(struct merge *merge, struct err *err);

/* Pushes on from *offset_bytes, one piece of at most MERGE_PIECE_BYTES, and moves the offset past
 * it; *copied_bytes: how long that was. 1: all is pushed; 0: it is not; -1: *err. A piece may still
 * have to be written on return. If that fails, merge_flush() does, and perhaps a call before, and
 * the push has to begin anew where it was flushed last. */
int merge_copy(struct merge *merge, uint64_t *offset_bytes, uint64_t *copied_bytes,
               struct err *err);

/* All that was pushed is durable on return. UnflushedData after a failed sync: the push has failed
 * for good, until the machine is booted. */
int merge_flush(struct merge *merge, struct err *err);

/* Waits until whoever makes an image on upper, outside of a group, has ended. */
void merge_await_clones(struct merge *merge);

/* The header of `child`, which stands on upper or names base already, names base; durable. */
int merge_rename(struct merge *merge, const struct merge_image *child, struct err *err);

/* Every export of upper is one of base, and no open chain has upper any more. 1: a group with one
 * of these devices has to end first; the call is to be repeated. */
int merge_redirect(struct merge *merge, struct err *err);

/* How long the last merge_redirect() held the locks of all devices: no request waits for them. */
uint64_t merge_locked_us(const struct merge *merge);

/* Base is read-only again, and gives back the space that the push let go; before merge_redirect(),
 * as when a push is given up, that waits until next time. After a failed sync it is read-only all
 * the same; after another error, as on a full disk, it stays writable: the call may be repeated, or
 * the next merge of the image goes on. */
int merge_end(struct merge *merge, struct err *err);

#endif
