/* SPDX-License-Identifier: Apache-2.0
 *
 * The identity of a file, whatever its name and the device number of its file system. It survives
 * renames, hard links, remounts and restarts of the daemon and of the machine; no other file ever
 * has it. Private to block/, but for its text, which the store keeps.
 *
 *     text      INODE-BIRTH-FILESYSTEM, in hexadecimal: "2c-17a3f0c9d1e4b200-91ab..."
 *     INODE     the inode number
 *     BIRTH     nanoseconds since the epoch; 0 where the file system has no times of birth
 *     FILESYSTEM  64 bits of the file system's own id; 0 where it has none that survives a remount
 *
 * (st_dev, st_ino) say the same of two files that are open now and cost less: use them for that,
 * and an identity for what is recorded.
 */
#ifndef BLOCK_IMAGE_IDENTITY_H
#define BLOCK_IMAGE_IDENTITY_H

#include "block/types.h"

#include <stdbool.h>

struct identity {
    char text[FILE_IDENTITY_BYTES]; /* "": not known */
    bool is_lasting; /* false where a remount may change inode numbers, or the file system
                      * has no times of birth: what is recorded of such a file needs its path too */
};

/* That of an open file. 0 or -errno; then *identity is not known. */
int identity_of(int fd, struct identity *identity);

/* Whether both are known and the same. */
bool identity_is_same(const struct identity *a, const struct identity *b);

/* Of two files of one name in one directory: the same, or born at the same time where inode numbers
 * do not last. FAT and exFAT keep that time in steps of 10 ms, and may show it more exactly until
 * they are mounted anew. */
bool identity_is_alike(const struct identity *a, const struct identity *b);

/* Whether the files with those texts are on one file system, as far as file systems have ids. */
bool identity_is_same_file_system(const char *a, const char *b);

#endif
