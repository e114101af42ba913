/* SPDX-License-Identifier: Apache-2.0
 *
 * The data interface: requests to a device. Any thread, on a device in use (exports.h: export_use).
 * All return 0 or -errno:
 *
 *     -EINVAL   the range leaves the device
 *     -EROFS    the device is read-only
 *     -EIO      the device failed, or its disk
 *     -ENOSPC   no space left for a new cluster
 *
 * An error fails its request only, except for a failed sync, which fails the device (device.c).
 *
 * device_read_cached() and device_write_cached() return -EAGAIN instead of blocking on a disk. All
 * others may block.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "block/types.h"

#include <stdbool.h>
#include <stdint.h>

struct device;

enum io_flags {
    IO_FUA = 1,     /* durable on return */
    IO_NO_HOLE = 2, /* device_zero: space stays allocated */
    IO_FAST = 4,    /* device_zero: -EOPNOTSUPP, at once, if it is no faster than a write */
};

uint64_t device_size_bytes(const struct device *device);
bool device_is_read_only(const struct device *device);

int device_read(struct device *device, void *buf, uint64_t offset, uint64_t length);

/* The same from memory; -EAGAIN if any of it is not cached, then `buf` is undefined. */
int device_read_cached(struct device *device, void *buf, uint64_t offset, uint64_t length);

/* Block status of a range. */
struct device_extent {
    uint64_t length; /* in: maximum (> 0); out: actual (> 0), the next extent may be alike */
    bool is_zero;    /* reads as zeros */
    bool is_hole;    /* takes no space of its own: in no image, or a hole of one */
    unsigned depth;  /* the image that maps it: 1 is the top; 0: none */
};
int device_map(struct device *device, uint64_t offset, struct device_extent *extent);

/* How a range differs from an older state of the same disk. */
struct device_difference {
    uint64_t length; /* in: maximum (> 0); out: actual (> 0), the next one may be alike */
    bool is_changed; /* else all bytes are as in `older`; if it is, they may be */
    bool is_zero;    /* of what is changed: reads as zeros */
};

/* What has changed in `device` since `older`: two read-only devices with an image in common. NULL:
 * what any image of `device` says. Costs the images above the common one. -ENXIO: there is none. */
int device_map_since(struct device *device, struct device *older, uint64_t offset,
                     struct device_difference *difference);

/* The unit of these differences, but for those at a disk's end; 0: no image is common. */
uint64_t device_granularity_since(struct device *device, struct device *older);

/* Starts to read a range into the page cache. Advice: parts may be left out. */
int device_prefetch(struct device *device, uint64_t offset, uint64_t length);

int device_write(struct device *device, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags);

/* The same, without flags; -EAGAIN if it would block, then nothing is written. */
int device_write_cached(struct device *device, const void *buf, uint64_t offset, uint64_t length);

int device_zero(struct device *device, uint64_t offset, uint64_t length, unsigned flags);
int device_discard(struct device *device, uint64_t offset, uint64_t length, unsigned flags);

/* Every write acknowledged before the call, on any connection and on either side of a cut, is
 * durable on return. */
int device_flush(struct device *device);

/* Adds the bytes of a successful request to the statistics. */
void device_count(struct device *device, enum device_op op, uint64_t bytes);

#endif
