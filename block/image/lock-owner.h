/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has locked a file. Called by lock.c, for its message.
 */
#ifndef BLOCK_IMAGE_LOCK_OWNER_H
#define BLOCK_IMAGE_LOCK_OWNER_H

#include <stdbool.h>
#include <stddef.h>

/* Writes a process other than this one that has a lock on the file behind `fd`: "17 (qemu-img)".
 * False: none was found; a process of another user or of another namespace may have one. Waits for
 * no storage. */
bool lock_owner_find(int fd, char *text, size_t bytes);

#endif
