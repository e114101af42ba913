/* SPDX-License-Identifier: Apache-2.0
 *
 * Images that the daemon made and does not need after all. Any thread; may block on disks.
 */
#ifndef BLOCK_OVERLAY_H
#define BLOCK_OVERLAY_H

#include "block/block.h"

/* Recovery: removes the overlay `path` if, and only if, its header says that group `id` created it,
 * and the marking name of a creation that was cut short. A file that does not exist is no error;
 * `directory` as for block_image_discard(). */
int block_overlay_discard(struct block *block, const char *path, const char *directory,
                          const char *format, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err);

/* The same for a file of that identity (NULL or "": not known), by which its storage is known if it
 * is not there: it is gone only if its file system is there. */
int block_overlay_discard_known(struct block *block, const char *path, const char *identity,
                                const char *format, const unsigned char id[OWNER_ID_BYTES],
                                struct err *err);

/* The same for an overlay that no client can have written to, and that stays if it has data all the
 * same, in the file or in a journal: UnflushedData. So a database that was saved before the overlay
 * was used, and is restored, removes nothing. */
int block_overlay_discard_unused(struct block *block, const char *path, const char *directory,
                                 const char *format, const unsigned char id[OWNER_ID_BYTES],
                                 struct err *err);

/* Before a start discards an overlay that its device was to take along: gives up what only its
 * journal has. Nothing happens to another file of that path. */
int block_overlay_forget(struct block *block, const char *path, const char *format,
                         const unsigned char id[OWNER_ID_BYTES], struct err *err);

/* Whether another process has the image open, as its locks show. False where it has none, and for a
 * moment also while this process opens or closes the image. */
bool block_overlay_is_used(struct block *block, const char *path);

#endif
