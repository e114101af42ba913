/* SPDX-License-Identifier: Apache-2.0
 *
 * Image locks: the lock bytes by which QEMU's programs and this daemon exclude each other from an
 * image. Private to block/; lock.c has the bytes and their meaning.
 *
 * A lock belongs to an open file description, not to the process, and is released with its last
 * descriptor: when it is closed or the process dies. The file table (file-table.h) judges the
 * daemon's own opens of a file first; those that share it are readers, whose locks do not conflict.
 */
#ifndef BLOCK_IMAGE_LOCK_H
#define BLOCK_IMAGE_LOCK_H

#include "base/err.h"

#include <stdbool.h>

/*
 * Locks the image behind `fd` for one reader (others may read too, nobody may write) or for one
 * writer (nobody else may write). 0; or -1 and *err (OpenFileFailed) if another process excludes
 * this; the caller then closes `fd`. *is_held is false, and a message logged, where the file system
 * has no locks.
 */
int image_lock(int fd, const char *path, bool read_only, bool *is_held, struct err *err);

/* Turns a writer's lock into a reader's; no other writer can lock the image meanwhile. 0 or -errno:
 * then some of the writer's bytes are still held. */
int image_lock_to_reader(int fd);

/* Acquires a reader's lock with another description of an image that this process has locked
 * already; conflicts are not checked. 0 or -errno. */
int image_lock_share(int fd);

/* Whether another description, of any process, has the image behind `fd` locked. Acquires nothing,
 * so that nobody is refused meanwhile. */
bool image_is_locked(int fd);

/* Releases all bytes of a description, at once even if I/O still uses it. */
void image_unlock(int fd);

#endif
