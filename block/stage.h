/* SPDX-License-Identifier: Apache-2.0
 *
 * Staging: how an image file comes into being so that a crash at any moment leaves nothing in
 * doubt.
 *
 *     stage_create     DIR/.snapgroupd-ID-HASH.tmp    O_EXCL: ours beyond doubt, the id is in its name
 *     (write it, file_sync_all)
 *     stage_publish    the same file gets its real name by link(2), which never replaces anything
 *     stage_settle     the first name goes; the file stands on its own
 *
 * HASH is of the real name, so that one id can stage many files in a directory. While the first
 * name is there, comparing inodes tells whether the real name is ours; stage_discard relies on it.
 * Private to block/.
 */
#ifndef BLOCK_STAGE_H
#define BLOCK_STAGE_H

#include "block/block.h"
#include "block/image.h"

/* Creates the empty file under its first name, writable. The descriptor, or -1 and *err
 * (OpenFileFailed). */
int stage_create(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                 struct err *err);

/* Gives it its real name. OpenFileFailed (EEXIST and others); then nothing has changed. */
int stage_publish(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                  struct err *err);

/* Removes the first name; if it is not there that is well. */
int stage_settle(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                 struct err *err);

/* Removes the real name if it is the file under the first name, then the first name. */
int stage_discard(const struct image_place *place, const unsigned char id[GROUP_ID_BYTES],
                  struct err *err);

/* fsyncs all descriptors at the same time; results[i] gets 0 or -errno. */
void file_sync_all(const int *fds, size_t count, int *results);

#endif
