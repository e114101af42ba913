/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery from the journals of a daemon that was killed. Private to block/.
 *
 *     journal empty or of another boot     deleted: the image is as of its last flush
 *     image opened to write                replayed; the node goes on with the journal
 *     opened read-only, or in another      replayed, flushed and closed first
 *       format than the journal's
 *     image missing                        kept
 *     another file under the path          kept; that file is not opened
 *     records do not match the image       kept, the image unchanged; it is not opened
 *     sync of the image failed (a note)    kept, the image unchanged; it is not opened
 *
 * To replay is to make the recorded changes in the memory of a node that is open for writing; the
 * journal keeps them, as before the kill. So a device never waits at start-up for gigabytes of
 * writeback. Images that no device opened are replayed and flushed by journal_recovery_finish().
 *
 * I1. Only a call with `discard_unflushed` deletes a journal that has records, or a note.
 *
 * Threads: any, with any directory that is open; NULL, a daemon without journals, has no leftovers.
 */
#ifndef BLOCK_IMAGE_JOURNAL_RECOVERY_H
#define BLOCK_IMAGE_JOURNAL_RECOVERY_H

#include "block/image/chain.h"
#include "block/image/journal-dir.h"

/* How an image with leftovers is opened. */
struct recovery_terms {
    bool is_restored; /* by a start or an export, not by a user: error messages name the way out */
    bool discard_unflushed; /* the caller gives up what is only in journals, and accepts images
                             * whose sync failed */
};

/* Part of a chain_guard: brings an image up to date before it is opened. Sets *node if the chain is
 * to use that node, which has been replayed. Codes: UnflushedData (until the data are discarded or
 * the right image is back), OpenFileFailed, DeviceInUse, InvalidBlockFormat, OutOfResources. */
int journal_recovery_admit(struct journal_dir *dir, const struct recovery_terms *terms,
                           const struct chain_file *file, struct node **node, struct err *err);

/* Before a device that was never opened is closed: 0 if there are no leftovers of its chain, as far
 * as that can be opened, or, with `discard`, if they are deleted. UnflushedData, DeviceInUse. */
int journal_recovery_sweep(struct journal_dir *dir, const struct image_dir *images,
                           const char *image, const char *format, bool discard, struct err *err);

/* Discards the node's journal and a note that a sync of it failed. */
void journal_recovery_discard(struct journal_dir *dir, struct node *node);

/* 0 if no journal has last writes of the image that is open as `fd`. UnflushedData, DeviceInUse,
 * OpenFileFailed. */
int journal_recovery_check(struct journal_dir *dir, int fd, const char *path, struct err *err);

/* Deletes what is left over of the image that is open as `fd`, which is to be removed. DeviceInUse,
 * OpenFileFailed. */
int journal_recovery_forget(struct journal_dir *dir, int fd, const char *path, struct err *err);

/* Replays and flushes the images that no device has opened. */
void journal_recovery_finish(struct journal_dir *dir, const struct image_dir *images);

/* Replays the image `path` if it has a journal, and syncs it. OpenFileFailed and the codes
 * above. */
int journal_recovery_sync(struct journal_dir *dir, const struct image_dir *images, const char *path,
                          struct err *err);

#endif
