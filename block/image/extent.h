/* SPDX-License-Identifier: Apache-2.0
 *
 * Extents, ranges of which all bytes are of one kind, and the flags of requests for ranges.
 */
#ifndef BLOCK_IMAGE_EXTENT_H
#define BLOCK_IMAGE_EXTENT_H

#include <stdint.h>

struct node;

enum extent_kind {
    EXTENT_DATA,    /* the layer's own data */
    EXTENT_ZERO,    /* zeros, whatever the backing node holds */
    EXTENT_BACKING, /* unallocated: the backing node decides; zeros if there is none */
};

#define EXTENT_NO_HOST UINT64_MAX

/* Of one layer. */
struct extent {
    enum extent_kind kind;
    uint64_t length; /* in: maximum (> 0); out: actual (> 0), perhaps less than there is */
    uint64_t host;   /* DATA: where in the file it begins, zeros past the end of the file; or
                      * EXTENT_NO_HOST if the data must be decoded by read() */
};

/* Of the disk. */
struct disk_range {
    uint64_t offset, length;
};

/* Of a chain: what it holds, and which of its images. */
struct chain_extent {
    enum extent_kind kind; /* BACKING: no image holds anything there; it reads as zeros */
    unsigned depth;        /* 1 is the top, 0 no image at all */
    struct node *node;     /* borrowed; NULL if depth is 0 */
    uint64_t host;         /* as in struct extent */
    uint64_t length;       /* in: maximum (> 0); out: actual (> 0) */
};

enum map_flags {
    MAP_HOLES = 1,  /* report holes of the file as zeros, where the file system knows them, and no
                     * `host`: neighbours of one kind are one extent wherever they lie */
    MAP_CACHED = 2, /* -EAGAIN rather than wait for a disk or for a thread that does */
    MAP_MARKED = 4, /* of a read: mark which frozen images have the data (read-marks.h) */
};

/* -EAGAIN, with nothing written, if the driver would have to wait for a disk or for a thread that
 * does. */
#define WRITE_CACHED 1

/* Past the page cache where that is possible; nobody reads the range meanwhile. No map flag: a
 * driver may read old content with the same flags. */
#define WRITE_DIRECT 8

enum zero_flags {
    ZERO_UNMAP = 1,   /* space may be freed */
    ZERO_FAST = 2,    /* -EOPNOTSUPP, with nothing done, unless much faster than to write zeros */
    ZERO_DISCARD = 4, /* alone: each byte then reads as before or as zero, never as backing data */
};

/* A result of write and zero beside 0 and -errno: a flush must free memory first. Part of the range
 * may be changed already; the caller calls make_room() and repeats the whole change. */
#define NODE_NEEDS_ROOM 2

#endif
