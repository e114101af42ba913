/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has an image file open: found out when somebody is refused, not kept with the file, since an
 * image stays open for others when the one who opened it is gone. Private to block/. Any thread.
 */
#ifndef BLOCK_DEVICE_USERS_H
#define BLOCK_DEVICE_USERS_H

#include "block/device/object.h"

#include <sys/types.h>

/* A device whose chain has the file. */
struct image_user {
    char device[DEVICE_NAME_MAX + 1];
    bool is_passing; /* it is being attached or detached */
    bool is_writer;  /* the file is its active image */
};

/* Of several devices the one that writes it, or one that stays. False: a group that is being taken,
 * a call, a job or an export has it, or nobody. `own`: a node of the file that does not count, or
 * NULL. No lock is held. */
bool image_user_find(struct block *block, dev_t dev, ino_t ino, const struct node *own,
                     struct image_user *user);

/* Refuses another use of the file, to write or to read: ImageInUse if a device keeps it,
 * DeviceInUse if whoever has it is about to release it. Returns -1. */
int image_user_report(struct block *block, const struct file_use *use, struct err *err);

#endif
