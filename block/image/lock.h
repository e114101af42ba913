/* SPDX-License-Identifier: Apache-2.0
 *
 * Image locks: the lock bytes by which QEMU's programs and this daemon keep off each other's
 * images. Private to block/; the bytes and their meaning are in lock.c.
 *
 * A lock belongs to an open file description, not to the process, and goes with the description's
 * last descriptor: closing, dying and being killed all free it. The daemon's own opens of one file
 * are judged by the registry first; those that it lets share are readers, and readers' locks do not
 * conflict.
 */
#ifndef BLOCK_IMAGE_LOCK_H
#define BLOCK_IMAGE_LOCK_H

#include "base/err.h"

#include <stdbool.h>

/*
 * Locks the image behind `fd` for one reader (others may read too, nobody may write) or for one
 * writer (nobody else may write). 0; or -1 and *err (OpenFileFailed) if somebody uses it in a way
 * that excludes this, and then `fd` is to be closed. *is_held is false where the file system has no
 * locks: that is logged, and no failure.
 */
int image_lock(int fd, const char *path, bool read_only, bool *is_held, struct err *err);

/* Turns a writer's lock into a reader's; no writer can come in meanwhile. 0 or -errno: then some of
 * the writer's bytes are still held. */
int image_lock_to_reader(int fd);

/* Takes a reader's lock with another description of an image that this process has locked already,
 * so nobody is asked whether that is well. 0 or -errno. */
int image_lock_share(int fd);

#endif
