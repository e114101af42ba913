/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that groups froze: recorded with the group's point of no return, and protected again by every
 * start, so that none of them is ever written through this daemon, whatever its name and whether or not
 * its device still exists. Called by snapshot-groups.c and recovery.c.
 */
#ifndef SERVICE_FROZEN_FILES_H
#define SERVICE_FROZEN_FILES_H

#include "block/block.h"
#include "store/store.h"

struct service;

/* Fills `row` with what `group`, which is prepared, is about to freeze, and with the identities of its
 * members' files. OutOfResources. */
int frozen_files_fill(const struct group *group, struct group_row *row, struct err *err);

/* Has the block layer protect all that is recorded; before any device is opened. StoreFailed,
 * OutOfResources. */
int frozen_files_protect(struct service *service, struct err *err);

/* Records and protects what a committed group froze that has no identities, since an older daemon took it,
 * as far as its images are there. What is not is logged. StoreFailed. */
int frozen_files_adopt(struct service *service, const struct group_row *row, struct err *err);

#endif
