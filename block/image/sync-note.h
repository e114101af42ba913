/* SPDX-License-Identifier: Apache-2.0
 *
 * Notes that a sync of an image failed, beside the journals. Private to block/.
 *
 * After a failed fdatasync the kernel may have dropped the pages that it could not write, and
 * report success the next time. Until the machine boots again, data read from the image may be
 * missing after a power loss. The note is for a daemon that starts again: it must refuse the image
 * until somebody accepts what may be lost.
 */
#ifndef BLOCK_IMAGE_SYNC_NOTE_H
#define BLOCK_IMAGE_SYNC_NOTE_H

#include <stdbool.h>

#define NOTE_SUFFIX ".failed" /* of a note's name; see journal_name() */

/* Logs the failure, and writes the note into `dirfd` (-1: nowhere). */
void sync_note_write(int dirfd, int image_fd, const char *path, int errnum);

/* Whether the note `name` exists and is of this boot; *path (heap) is the image's then, "" if
 * unknown, NULL when memory is short. `path` may be NULL. */
bool sync_note_holds(int dirfd, const char *name, char **path);

#endif
