/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may open an image file: its owner, group, mode and ACL. Private to block/.
 */
#ifndef BLOCK_IMAGE_ACCESS_H
#define BLOCK_IMAGE_ACCESS_H

#include "base/err.h"

/* Gives the new file `fd`, mode 0600, the owner, group, mode and ACL of the file `model_fd`, as far
 * as the process may and the file system can; nobody but the owner of the new file can open it in a
 * way in which he cannot open the model. Set-user-id, set-group-id and sticky bits are not copied.
 * Warns, with `path`, of what could not be copied. -1 and *err (OpenFileFailed, OutOfResources)
 * only if the model cannot be examined. */
int access_copy(int fd, int model_fd, const char *path, struct err *err);

#endif
