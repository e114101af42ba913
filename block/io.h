/* SPDX-License-Identifier: Apache-2.0
 *
 * The data interface: what exports do with a device. Any thread may call any of these at any time
 * on a device that it holds (exports.h: export_use). All return 0 or -errno:
 *
 *     -EINVAL   the range leaves the device
 *     -EROFS    the device is read-only
 *     -EIO      the device failed, or its disk
 *     -ENOSPC   no space left for a new cluster
 *
 * An error never takes the device or any other request with it, but for a failed flush (device.c).
 *
 * device_read_cached() and device_write_cached() wait for no disk: -EAGAIN where they would have
 * to. All others may.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "block/types.h"

#include <stdbool.h>
#include <stdint.h>

struct device;

enum io_flags {
    IO_FUA = 1,     /* durable before it returns */
    IO_NO_HOLE = 2, /* device_zero: space stays allocated */
    IO_FAST = 4,    /* device_zero: -EOPNOTSUPP, at once, where writing zeros would be as fast */
};

uint64_t device_size_bytes(const struct device *device);
bool device_is_read_only(const struct device *device);

int device_read(struct device *device, void *buf, uint64_t offset, uint64_t length);

/* The same if all of it is in memory, else -EAGAIN; then `buf` is undefined. */
int device_read_cached(struct device *device, void *buf, uint64_t offset, uint64_t length);

/* What a range of the device is. */
struct device_extent {
    uint64_t length; /* asked: at most (> 0); told: > 0, maybe less than there is of that kind */
    bool is_zero;    /* reads as zeros */
    bool is_hole;    /* takes no space of its own: in no image, or a hole of one */
    unsigned depth;  /* which image of the chain says so: 1 is the top, 0 none */
};
int device_map(struct device *device, uint64_t offset, struct device_extent *extent);

/* Has a range read into memory, for reads to come; returns before that is done. Advice: parts of it
 * may be left out. */
int device_prefetch(struct device *device, uint64_t offset, uint64_t length);

int device_write(struct device *device, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags);

/* The same, without flags, if as things stand nothing has to be waited for, else -EAGAIN; then
 * nothing is written. */
int device_write_cached(struct device *device, const void *buf, uint64_t offset, uint64_t length);

int device_zero(struct device *device, uint64_t offset, uint64_t length, unsigned flags);
int device_discard(struct device *device, uint64_t offset, uint64_t length, unsigned flags);

/* Every write acknowledged before the call, on whatever connection and on whichever side of a cut,
 * is durable on return. */
int device_flush(struct device *device);

/* Counts bytes of a request that succeeded, for statistics. */
void device_count(struct device *device, enum device_op op, uint64_t bytes);

#endif
