/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes the overlays of a group durable. Private to device/. Called by the thread that runs the
 * group.
 */
#ifndef BLOCK_DEVICE_GROUP_SYNC_H
#define BLOCK_DEVICE_GROUP_SYNC_H

#include "block/device/member.h"

/* The content of every overlay. -1 and *err (OpenFileFailed, OutOfResources), with the first member
 * in list order that failed; so below. */
int group_sync_overlays(struct group *group, size_t *failed_member, struct err *err);

/* The names of every overlay; each directory is synced once. */
int group_sync_directories(struct group *group, size_t *failed_member, struct err *err);

/* The removal of every overlay that member_abort() removed; each directory is synced once. -1 and
 * *err (OpenFileFailed) if any failed; the others are synced all the same. */
int group_sync_removals(struct group *group, struct err *err);

#endif
