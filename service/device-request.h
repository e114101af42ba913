/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks for with POST /devices, as devices.h and clones.h take it.
 */
#ifndef SERVICE_DEVICE_REQUEST_H
#define SERVICE_DEVICE_REQUEST_H

#include "block/block.h"

struct origin;

/* The member of a group that is to be cloned; NULL: none. */
struct device_from {
    const char *group; /* its name or id */
    const char *device;
};

/* What a client asks for; strings are borrowed. */
struct device_request {
    const char *name;
    struct device_from from;
    const char *image;           /* NULL, with `from`: the default */
    const char *format;          /* NULL with `from` */
    const char *labels;          /* JSON text */
    const char *allowed_clients; /* likewise; NULL: all, or as with what is cloned */
    const struct origin *origin;
    bool read_only;
    bool discard_unflushed; /* without `create` and `from` */
    bool create;
    uint64_t size_bytes;          /* with `create` */
    struct cluster_shape created; /* with `create`, of a format that has clusters */
    struct cluster_shape overlay; /* of the overlays to come */
};

/* What of a request an error is about. */
enum device_part {
    DEVICE_PART_ITSELF, /* the device or its image: the code tells */
    DEVICE_PART_GROUP,  /* from->group */
    DEVICE_PART_MEMBER, /* from->device, or its frozen image */
};

#endif
