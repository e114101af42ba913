/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying: what a frozen member gives, written to an image of its own, without a backing file.
 *
 *   copy_open --> copy_begin --> copy_piece, copy_flush, ...    until all is copied and durable
 *             --> copy_finish      the image is closed, and durable under its first name (stage.h)
 *             --> copy_close       at any time
 *   copy_publish                   the image gets its name; then block_image_keep() makes it one
 *                                  like any other
 *
 * Until copy_publish() the image has its first name only, which `id` tells: block_image_discard()
 * removes it. A copy whose last call was copy_flush() is continued where that ended; one that was
 * cut short elsewhere is to be discarded, since it may hold clusters that nothing names.
 *
 * The member is in use meanwhile, as by a client of its export, also while its images are merged.
 * Ranges of zeros are left out of the image, whole blocks of zeros in its data too. One thread at a
 * time uses a copy. All may block on disks; none holds a guest's request.
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/block.h"

struct copy;

enum { COPY_PIECE_BYTES = 256 << 10 };

struct copy_target {
    const char *path; /* absolute */
    const char *format;
    const char *directory; /* its identity; for copy_publish() */
    unsigned char id[OWNER_ID_BYTES];
};

/* `export`: a frozen member, "DEVICE@GROUP". NULL and *err: DeviceNotFound (there is no such
 * export, also while its group is about to be deleted), and as block_device_open(). */
struct copy *copy_open(struct block *block, const char *export, struct err *err);
void copy_close(struct copy *copy);
CLEANUP_DEFINE(copy, struct copy *, copy_close)

/* Bytes of data to be copied. */
int copy_measure(struct copy *copy, uint64_t *bytes, struct err *err);

/* Whether the image could be made now: its format can be created, its directory is there, and its
 * name is free; *free_bytes: of its file system, for this process. Codes: InvalidBlockFormat,
 * OpenFileFailed. */
int copy_check(struct block *block, const struct copy_target *target, uint64_t *free_bytes,
               struct err *err);

/* Creates the image, or with `is_continued` opens the one that was begun. It is as accessible as
 * the member's. Codes: as block_image_create(), and those of opening. */
int copy_begin(struct copy *copy, const struct copy_target *target, bool is_continued,
               struct err *err);

/* Copies from *offset_bytes on, one piece of at most COPY_PIECE_BYTES, and moves the offset past
 * it; *copied_bytes: how long that was. 1: all is copied; 0: it is not; -1: *err. */
int copy_piece(struct copy *copy, uint64_t *offset_bytes, uint64_t *copied_bytes, struct err *err);

/* All that was copied is durable on return. UnflushedData after a failed sync. */
int copy_flush(struct copy *copy, struct err *err);

int copy_finish(struct copy *copy, struct err *err);

/* Gives the image its name; goes on where an earlier call was cut short. OpenFileFailed: the name
 * is not free any more, the directory cannot be synced, or its storage is away. */
int copy_publish(struct block *block, const struct copy_target *target, struct err *err);

#endif
