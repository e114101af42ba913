/* SPDX-License-Identifier: Apache-2.0
 *
 * Types and limits that block's rooms and its users share: images and who owns them.
 */
#ifndef BLOCK_TYPES_H
#define BLOCK_TYPES_H

#include "block/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* The owner of a new image file until it is kept: the group, or the device creation, that wrote it.
 * A UUID, never all zeros. */
#define OWNER_ID_BYTES 16

/* The text of a file's identity (block/image/identity.h), with the terminating zero. */
#define FILE_IDENTITY_BYTES 56

/* Sizes that a guest sees are multiples of this; a file's odd tail reads as zeros. */
#define BLOCK_SECTOR_BYTES 512

/* Requests whose bytes are counted. */
enum device_op {
    DEVICE_OP_READ,
    DEVICE_OP_WRITE,
    DEVICE_OP_ZERO,
    DEVICE_OP_DISCARD,
    DEVICE_OP_COUNT,
};

/* Geometry of a qcow2 image: the cluster size, a power of two (0: the format's default), and
 * whether L2 entries are extended: 32 subclusters each, so that a small write to a fresh cluster
 * copies nothing. */
struct cluster_shape {
    uint32_t cluster_bytes;
    bool extended_l2;
};
#define CLUSTER_BYTES_MIN          512
#define CLUSTER_BYTES_MIN_EXTENDED 16384 /* with extended L2 */

static inline bool cluster_shape_is_valid(struct cluster_shape shape)
{
    uint32_t least = shape.extended_l2 ? CLUSTER_BYTES_MIN_EXTENDED : CLUSTER_BYTES_MIN;
    return shape.cluster_bytes >= least && shape.cluster_bytes <= CLUSTER_BYTES_MAX &&
           (shape.cluster_bytes & (shape.cluster_bytes - 1)) == 0;
}

#define IMAGE_CLUSTER_BYTES 65536 /* of a new image without extended L2, by default */

/* Of an overlay, by default. */
#define OVERLAY_CLUSTER_BYTES 65536
#define OVERLAY_EXTENDED_L2   true

#endif
