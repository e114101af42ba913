/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates the overlays of a group. Private to device/. Called by the thread that runs the group.
 *
 *     side by side   stage each overlay, copy the permissions of the image that it freezes, open it
 *                    on top of that image
 *     at once        sync all overlays
 *     in list order  give each its name
 *     at once        sync each directory, once
 */
#ifndef BLOCK_DEVICE_GROUP_CREATE_H
#define BLOCK_DEVICE_GROUP_CREATE_H

#include "block/device/member.h"

/* -1 and *err (OpenFileFailed, OutOfResources, and those of member_stage()), with the first member
 * in list order that failed; member_abort() removes what was created. */
int group_create_overlays(struct group *group, size_t *failed_member, struct err *err);

#endif
