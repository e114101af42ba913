/* SPDX-License-Identifier: Apache-2.0
 *
 * Clones: a device on top of what a group froze of another one. It is created as any device is
 * (devices.h); only where its image comes from differs.
 *
 *   clone_source_open    finds the member, opens its frozen image
 *   clone_source_place   checks where the image is to go
 *     row CREATING       with the row of the image, if the group is committed still
 *   clone_create         (block/clone.h)
 *
 * Called by devices.c, under the name of the new device.
 */
#ifndef SERVICE_CLONES_H
#define SERVICE_CLONES_H

#include "block/clone.h"
#include "service/device-request.h"
#include "store/groups.h"

struct service;

/* What a device is cloned from. Zeroed: nothing. */
struct clone_source {
    struct group_row group;
    const struct member_row *member; /* of the group */
    struct clone *clone;             /* NULL: not a clone */
    char *image;                     /* what it has by default; NULL: one is named */
    struct device_request request;   /* with what a clone has by default; borrowed from all above */
};

/* Fills source->request, which is `request` if that names nothing to clone. *part: what the error
 * is about. Codes: GroupNotFound, DeviceNotFound, DeviceInUse (the group is not finished, or the
 * image not durable yet), and those of clone_begin(). */
int clone_source_open(struct service *service, const struct device_request *request,
                      struct clone_source *source, enum device_part *part, struct err *err);
void clone_source_close(struct clone_source *source);

/* Records in the row of the new device where it comes from, and checks the place of its image.
 * Codes: those of clone_place(). */
int clone_source_place(struct clone_source *source, struct device_row *row, struct err *err);

#endif
