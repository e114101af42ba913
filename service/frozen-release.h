/* SPDX-License-Identifier: Apache-2.0
 *
 * When a frozen file may be written again: once no group that is not deleted has it as a member, no
 * device has it in its chain, and no image that the daemon knows of, and whose file was not
 * removed, stands on it. So an overlay that was committed by hand, and removed, keeps nothing
 * frozen.
 */
#ifndef SERVICE_FROZEN_RELEASE_H
#define SERVICE_FROZEN_RELEASE_H

#include "base/err.h"

struct service;

/* Whether the file at `image`, which is wanted for writing, was frozen and is not any more: 1; 0:
 * it was not frozen; -1: *err (DeviceInUse: who needs it, and what to do; DeadlineExceeded,
 * StoreFailed, OutOfResources, OpenFileFailed). */
int frozen_file_release(struct service *service, const char *image, struct err *err);

#endif
