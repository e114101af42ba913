/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a device: writes, zeroes and discards. See io.h.
 *
 *   change:  for each piece: node_make_room(top), changes_begin -> node_change -> changes_end;
 *            FUA: flush
 *
 *   W1. No seal waits for a sync: room is made while no change is listed, and a piece that finds
 *       none ends and starts again, whole, in what is then the top.
 *   W2. No seal waits for a whole long request, which is split into pieces, each on one side of the
 *       cut. The client has no reply yet, so a snapshot that has a part of the request is a state
 *       that a power failure could have left.
 *   W3. A change that copies from the unsealed image first waits for the changes in flight there
 *       that overlap the copy: else it would bury one that is acknowledged later. It holds no lock
 *       meanwhile. No assert: only the lists know those changes, and none is added (C1).
 *   W4. While a job merges the top, its twin is changed too, in one step (twin.h). No assert: it is
 *       the twin's.
 */
#include "base/monotonic.h"
#include "block/device/device.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

static int device_check_change(struct device *device, uint64_t offset, uint64_t length)
{
    int ret = device_check_range(device, offset, length);
    return ret == 0 && device->read_only ? -EROFS : ret;
}

/* ---- pieces ---- */

enum {
    PIECE_BYTES_MAX = 64 << 20,          /* of a zero or discard */
    PIECE_CLUSTERS_MAX = 1024,           /* of a zero or discard: entries changed */
    PIECE_WRITE_BYTES = 4 << 20,         /* of a write */
    PIECE_BYTES_MIN = CLUSTER_BYTES_MAX, /* or the maximum, if that is less */
    PIECE_ALONE_BYTES = 512 << 10,       /* a request up to this is one piece, and not timed */
    PIECE_SHORT_US = 2000,               /* below: the next piece is longer */
    PIECE_LONG_US = 8000,                /* above: the next piece is shorter */
};

/* Lengths of a request's pieces: powers of two. Pieces end at multiples of their length, so that no
 * cluster is in two. */
struct pieces {
    uint64_t bytes, min, max;
};

static struct pieces pieces_begin(const struct device *device, const struct node_change *change)
{
    uint64_t most = index_top(device->index)->cluster_bytes * PIECE_CLUSTERS_MAX;
    struct pieces pieces = {.max = PIECE_BYTES_MAX};
    if (change->kind == NODE_WRITE)
        pieces.max = PIECE_WRITE_BYTES;
    else if (most != 0 && most < PIECE_BYTES_MAX)
        pieces.max = most;
    pieces.min = pieces.max < PIECE_BYTES_MIN ? pieces.max : PIECE_BYTES_MIN;
    pieces.bytes = pieces.max < PIECE_WRITE_BYTES ? pieces.max : PIECE_WRITE_BYTES;
    return pieces;
}

static uint64_t piece_length(const struct pieces *pieces, uint64_t offset, uint64_t length)
{
    if (length <= pieces->bytes)
        return length;
    return pieces->bytes - offset % pieces->bytes;
}

static void pieces_adapt(struct pieces *pieces, uint64_t took_us)
{
    if (took_us > PIECE_LONG_US && pieces->bytes > pieces->min)
        pieces->bytes /= 2;
    else if (took_us < PIECE_SHORT_US && pieces->bytes < pieces->max)
        pieces->bytes *= 2;
}

/* Whether the change may copy from an image that is not sealed: then from [*start, *end). */
static bool change_copies(const struct device *device, const struct change *change, uint64_t *start,
                          uint64_t *end)
{
    const struct node *node = change->node, *unsealed = index_unsealed(device->index);
    if (!unsealed || node->backing != unsealed || node->copy_bytes == 0)
        return false;
    *start = change->start / node->copy_bytes * node->copy_bytes;
    *end = (change->end + node->copy_bytes - 1) / node->copy_bytes * node->copy_bytes;
    return *start != change->start || (*end != change->end && change->end != device->size_bytes);
}

/* W3 */
static void device_await_copied(struct device *device, const struct change *change)
{
    uint64_t start, end;
    if (!change_copies(device, change, &start, &end))
        return;
    uint64_t begun_us = clock_monotonic_us();
    changes_await(&device->changes, change->node->backing, start, end);
    uint64_t wait_us = clock_monotonic_us() - begun_us;
    uint64_t longest_us = atomic_load(&device->copy_wait_us);
    while (wait_us > longest_us &&
           !atomic_compare_exchange_weak(&device->copy_wait_us, &longest_us, wait_us))
        ;
}

/* In the top; and in its twin, unless there is another top by now. */
static int change_make(const struct change *change, struct twin *twin,
                       const struct node_change *piece)
{
    return twin && twin->top == change->node ? twin_change(twin, piece)
                                             : node_change(change->node, piece);
}

static int device_make_room(struct device *device, struct twin *twin)
{
    int ret = node_make_room(index_top(device->index));
    return ret == 0 && twin ? twin_make_room(twin) : ret;
}

static int device_try_piece(struct device *device, struct twin *twin,
                            const struct node_change *piece)
{
    struct change change;
    changes_begin(&device->changes, &device->index, &change, piece->offset,
                  piece->offset + piece->length);
    if (piece->kind != NODE_DISCARD)
        device_await_copied(device, &change);
    int ret = change_make(&change, twin, piece);
    changes_end(&change);
    return ret;
}

static int device_change_piece(struct device *device, const struct node_change *piece)
{
    struct twin *twin = atomic_load_explicit(&device->twin, memory_order_acquire);
    int ret = device_make_room(device, twin);
    if (ret)
        return ret;
    while ((ret = device_try_piece(device, twin, piece)) == NODE_NEEDS_ROOM)
        if ((ret = device_make_room(device, twin))) {
            if (twin)
                (void)twin_fail(twin, ret); /* a part may be made in the top */
            break;
        }
    assert(ret <= 0); /* W1 */
    return ret;
}

static int device_change_pieces(struct device *device, const struct node_change *change)
{
    struct pieces pieces = pieces_begin(device, change);
    struct node_change piece = *change;
    uint64_t left = change->length;
    int ret;
    do {
        uint64_t begun_us = clock_monotonic_us();
        piece.length = piece_length(&pieces, piece.offset, left);
        assert(piece.length > 0 && piece.length <= pieces.max); /* W2 */
        ret = device_change_piece(device, &piece);
        pieces_adapt(&pieces, clock_monotonic_us() - begun_us);
        if (piece.kind == NODE_ZERO_FAST)
            piece.kind = NODE_ZERO; /* the first piece has decided */
        if (piece.buf)
            piece.buf = (const char *)piece.buf + piece.length;
        piece.offset += piece.length;
        left -= piece.length;
    } while (left && ret == 0);
    return ret;
}

static int device_change_now(struct device *device, const struct node_change *change)
{
    READERS_GUARD(&device->readers);
    int ret = device_check_change(device, change->offset, change->length);
    if (ret)
        return ret;
    return change->length <= PIECE_ALONE_BYTES ? device_change_piece(device, change)
                                               : device_change_pieces(device, change);
}

static int device_change(struct device *device, const struct node_change *change, unsigned flags)
{
    int ret = device_change_now(device, change);
    return ret == 0 && (flags & IO_FUA) ? device_flush(device) : ret;
}

int device_write(struct device *device, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags)
{
    return device_change(device, &(struct node_change){NODE_WRITE, buf, offset, length, false},
                         flags);
}

int device_write_cached(struct device *device, const void *buf, uint64_t offset, uint64_t length)
{
    READERS_GUARD(&device->readers);
    int ret = device_check_change(device, offset, length);
    if (ret == 0 && atomic_load_explicit(&device->twin, memory_order_acquire))
        ret = -EAGAIN; /* two images are to be written */
    if (ret)
        return ret;
    struct change change;
    uint64_t start, end;
    changes_begin(&device->changes, &device->index, &change, offset, offset + length);
    ret = change_copies(device, &change, &start, &end)
              ? -EAGAIN /* W3: it might wait */
              : node_write_cached(change.node, buf, offset, length);
    changes_end(&change);
    return ret;
}

int device_zero(struct device *device, uint64_t offset, uint64_t length, unsigned flags)
{
    struct node_change change = {
        .kind = flags & IO_FAST ? NODE_ZERO_FAST : NODE_ZERO,
        .offset = offset,
        .length = length,
        .unmap = !(flags & IO_NO_HOLE),
    };
    return device_change(device, &change, flags);
}

int device_discard(struct device *device, uint64_t offset, uint64_t length, unsigned flags)
{
    return device_change(device, &(struct node_change){NODE_DISCARD, NULL, offset, length, false},
                         flags);
}
