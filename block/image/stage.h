/* SPDX-License-Identifier: Apache-2.0
 *
 * Staging: creation of an image file such that after a crash at any moment its owner is known.
 *
 *     stage_create     DIR/.snapgroupd-ID-HASH.tmp    O_EXCL: ours, the id is in its name
 *     (write it, file_sync_all)
 *     stage_publish    the same file gets its real name by link(2), which never replaces a file
 *     stage_keep       the first name is removed
 *
 * HASH is of the real name: one id can stage many files in a directory. While the first name
 * exists, the real name is ours if it has the same inode; stage_discard relies on that.
 *
 * Without hard links the file is renamed, with RENAME_NOREPLACE. The first name is then lost as
 * soon as the real one exists. Unless the content names the owner, a mark does:
 * DIR/.snapgroupd-ID-HASH.mark, durable before the rename, holds the identity of the file.
 *
 *     first name  mark   real name
 *     yes         no     ours if it is the same inode     before the rename, or links
 *     yes         yes    not ours                         before the rename
 *     no          yes    ours if its identity is alike    renamed, not kept
 *     no          no     not ours                         kept, or never begun
 *
 * A mark is removed before the first name, and after the real one. Private to block/.
 */
#ifndef BLOCK_IMAGE_STAGE_H
#define BLOCK_IMAGE_STAGE_H

#include "block/image/image.h"
#include "block/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* Creates the empty file under its first name, writable. The descriptor, or -1 and *err
 * (OpenFileFailed). */
int stage_create(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                 struct err *err);

/* Opens the file that has only its first name, writable. The descriptor, or -1 and *err
 * (OpenFileFailed). */
int stage_open(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
               struct err *err);

/* Gives the file its real name. OpenFileFailed (EEXIST and others); the file then has only its
 * first name. */
int stage_publish(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  struct err *err);

/* The same for a file whose content names `id` as the owner, which needs no mark; and keeps it. It
 * may have both names if that failed. */
int stage_publish_kept(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                       struct err *err);

/* Keeps the file: removes the mark and the first name, if they exist. */
int stage_keep(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
               struct err *err);

/* Publishes a file that is durable under its first name, durably; an earlier call may have been cut
 * short, or the file kept. OpenFileFailed. */
int stage_publish_durably(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err);

/* Whether neither exists. */
bool stage_is_kept(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES]);

/* How many first names, of whatever maker, the file still has in its directory; at most all but one
 * of its names. */
size_t stage_count_names(const struct image_place *place, const struct stat *file);

/* Removes the real name if it is that of the staged file, then the mark and the first name. */
int stage_discard(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  struct err *err);

#endif
