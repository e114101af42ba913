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
 *
 * Where the file system has no hard links, the file is renamed, with RENAME_NOREPLACE. Then the
 * first name is gone as soon as there is the real one, and unless the content tells whose the file
 * is, a mark tells it: DIR/.snapgroupd-ID-HASH.mark, durable before the rename, holds the identity
 * of the file.
 *
 *     first name  mark   real name
 *     yes         no     ours if it is the same inode     before the rename, or links
 *     yes         yes    not ours                         before the rename
 *     no          yes    ours if its identity is alike    renamed, not settled
 *     no          no     not ours                         settled, or never begun
 *
 * A mark goes before the first name does, and after the real one. Private to block/.
 */
#ifndef BLOCK_IMAGE_STAGE_H
#define BLOCK_IMAGE_STAGE_H

#include "block/image/image.h"
#include "block/types.h"

/* Creates the empty file under its first name, writable. The descriptor, or -1 and *err
 * (OpenFileFailed). */
int stage_create(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                 struct err *err);

/* Gives it its real name; `tells_itself`: by the file's content it is known that `id` made it, and
 * no mark is needed. OpenFileFailed (EEXIST and others); then it has no other name than before. */
int stage_publish(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  bool tells_itself, struct err *err);

/* Removes the mark and the first name; if they are not there that is well. */
int stage_settle(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                 struct err *err);

/* Removes the real name if it is that of the staged file, then the mark and the first name. */
int stage_discard(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  struct err *err);

#endif
