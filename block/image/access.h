/* SPDX-License-Identifier: Apache-2.0
 *
 * Permissions of an image file: owner, group, mode and ACL. Private to block/.
 */
#ifndef BLOCK_IMAGE_ACCESS_H
#define BLOCK_IMAGE_ACCESS_H

#include "base/err.h"

/* Copies owner, group, mode and ACL of `model_fd` to the new file `fd`, mode 0600, as far as the
 * process may and the file system can; no user but the new owner gains access that the model
 * denies. Set-user-id, set-group-id and sticky bits are not copied. A part that cannot be copied is
 * logged, with `path`. -1 and *err (OpenFileFailed, OutOfResources) only if the model cannot be
 * examined. */
int access_copy(int fd, int model_fd, const char *path, struct err *err);

#endif
