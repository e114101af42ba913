/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that groups froze: recorded with the group's point of no return and protected again at
 * every start, so that this daemon never writes one, whatever its name and whether or not its
 * device still exists. Called by snapshot-groups.c and recovery.c.
 */
#ifndef SERVICE_FROZEN_FILES_H
#define SERVICE_FROZEN_FILES_H

#include "block/group.h"
#include "store/groups.h"

struct service;

/* Fills `row` with the files that the prepared `group` will freeze, and with the identities of its
 * members' files. OutOfResources. */
int frozen_files_fill(struct group *group, struct group_row *row, struct err *err);

/* Protects all recorded files in the block layer; before any device is opened. StoreFailed,
 * OutOfResources. */
int frozen_files_protect(struct service *service, struct err *err);

/* Records and protects the files of a committed group without identities, taken by an older daemon.
 * An image that is unavailable is logged. StoreFailed. */
int frozen_files_adopt(struct service *service, const struct group_row *row, struct err *err);

#endif
