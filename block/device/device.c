/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to a device. See device.h and io.h.
 *
 *   change:  for each piece: node_make_room(top), fence_enter -> node_change(top) -> fence_leave;
 *            FUA: flush
 *   read:    index_find, then the file of the image found; not held by the fence. On a miss the
 *            index is filled first; a range that it cannot describe is read down the chain
 *   flush:   pin the top; freeze the images below it, unless they are frozen; flush the top
 *
 *     OPENING --device_set_top--> ONLINE --device_fail--> FAILED, until it is detached
 *        |                           ^
 *        +-----device_set_absent--> ABSENT, with each attempt's reason
 *
 * Invariants:
 *   I1. No cut waits for a sync: room is made outside the fence, and a piece that finds none inside
 *       leaves the fence and starts again, whole.
 *   I2. No cut waits for a whole long request, which is split into pieces, each on one side of the
 *       cut. The client has no reply yet, so a snapshot that has a part of the request is a state
 *       that a power failure could have left.
 *   I3. A write acknowledged just before a cut is in a frozen image: a flush makes that durable
 *       before the top. A group freezes these images itself; where that failed (no memory, no
 *       space), every later flush retries.
 *   I4. A failed fdatasync of any image fails the device until its image is attached anew: the
 *       kernel may have dropped the pages that it could not write (journal.h). Any other error
 *       fails its request only.
 *   I5. The top's io_lock is held while data of the top are read, not those of frozen images.
 */
#include "block/device/device.h"

#include "base/log.h"
#include "block/devices.h"
#include "block/image/file-io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

struct device *device_new(const char *name, const char *image, const char *format, bool read_only)
{
    struct device *device = aligned_alloc(alignof(struct device), sizeof(*device));
    if (!device)
        return NULL;
    memset(device, 0, sizeof(*device));
    fence_init(&device->fence);
    pthread_mutex_init(&device->freeze_lock, NULL);
    pthread_mutex_init(&device->lock, NULL);
    device->read_only = read_only;
    device->name = strdup(name);
    device->image = strdup(image);
    device->format = strdup(format);
    if (!device->name || !device->image || !device->format) {
        device_free(device);
        return NULL;
    }
    return device;
}

void device_free(struct device *device)
{
    if (device->top) {
        index_free(device->index);
        node_unref(device->top);
    }
    pthread_mutex_destroy(&device->lock);
    pthread_mutex_destroy(&device->freeze_lock);
    fence_destroy(&device->fence);
    free(device->reason);
    free(device->name);
    free(device->image);
    free(device->format);
    allowed_clients_unref(device->allowed_clients);
    free(device);
}

static void device_assert_state_locked(const struct device *device)
{
    enum device_state state = atomic_load(&device->state);
    bool has_chain = state == DEVICE_ONLINE || state == DEVICE_FAILED;
    assert(has_chain == (device->top != NULL) && has_chain == (device->index != NULL));
    assert(!device->reason || state >= DEVICE_FAILED);
    (void)has_chain;
}

int device_set_top(struct device *device, struct node *top, struct index_memory *memory)
{
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    assert(!device->top);
    device->index = index_new(memory, top);
    if (!device->index)
        return -1;
    device->top = top;
    device->size_bytes = top->size_bytes;
    if (atomic_load(&device->state) == DEVICE_ABSENT)
        log_info("device '%s' is online", device->name);
    free(steal(device->reason));
    device->is_failure_taken = false;
    atomic_store(&device->state, DEVICE_ONLINE);
    device_assert_state_locked(device);
    return 0;
}

int device_report_holder(const struct device *device, struct err *err)
{
    const size_t prefix = strlen(DEVICE_HELD_BY_GROUP);
    err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %s", device->name, device->holder);
    if (strncmp(device->holder, DEVICE_HELD_BY_GROUP, prefix) == 0)
        return err_add_holder(err, "group", device->holder + prefix);
    return err_add_holder(err, "detach", device->name);
}

struct node *device_top(struct device *device)
{
    LOCK_GUARD(&device->lock);
    return device->top ? node_ref(device->top) : NULL;
}

struct node *device_swap_top(struct device *device, struct node *overlay)
{
    LOCK_GUARD(&device->lock);
    struct node *frozen = device->top;
    assert(frozen && overlay->backing == frozen);
    device->top = overlay;
    index_push(device->index, overlay);
    return frozen;
}

static void device_set_reason_locked(struct device *device, enum device_state state,
                                     const char *reason)
{
    atomic_store(&device->state, state);
    device_assert_state_locked(device);
    if (device->reason && strcmp(device->reason, reason) == 0)
        return;
    free(device->reason);
    device->reason = strdup(reason);
    log_error("device '%s' failed: %s", device->name, reason);
    if (device->failures_fd)
        eventfd_write(device->failures_fd, 1);
}

/* The first reason stays. */
static void device_fail(struct device *device, const struct node *node, int sync_error)
{
    char reason[512];
    snprintf(reason, sizeof(reason),
             "image '%s' could not be made durable: %s; its last writes may be lost", node->path,
             strerror(sync_error));
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    if (atomic_load(&device->state) != DEVICE_FAILED)
        device_set_reason_locked(device, DEVICE_FAILED, reason);
}

void device_set_absent(struct device *device, const char *reason)
{
    LOCK_GUARD(&device->lock);
    device_assert_state_locked(device);
    device_set_reason_locked(device, DEVICE_ABSENT, reason);
}

/* Fails the device if an fdatasync of that image of its failed. */
static bool device_check_sync(struct device *device, const struct node *node)
{
    int sync_error = atomic_load(&node->sync_error);
    if (sync_error)
        device_fail(device, node, sync_error);
    assert(!sync_error || atomic_load(&device->state) == DEVICE_FAILED); /* I4 */
    return sync_error;
}

bool device_has_failed(struct device *device)
{
    return atomic_load(&device->state) >= DEVICE_FAILED ||
           (device->index && device_check_sync(device, index_top(device->index)));
}

uint64_t device_size_bytes(const struct device *device)
{
    return device->size_bytes;
}

bool device_is_read_only(const struct device *device)
{
    return device->read_only;
}

static int device_check(struct device *device, uint64_t offset, uint64_t length)
{
    if (device_has_failed(device))
        return -EIO;
    if (offset > device->size_bytes || length > device->size_bytes - offset)
        return -EINVAL;
    return 0;
}

/* Reads all of an extent from the index. */
static int found_read(const struct chain_extent *found, void *buf, bool cached)
{
    if (found->kind == EXTENT_ZERO) {
        memset(buf, 0, found->length);
        return 0;
    }
    return cached ? file_read_cached(found->node->fd, buf, found->host, found->length)
                  : file_read_padded(found->node->fd, buf, found->host, found->length);
}

/* Reads one extent. *length: in: maximum; out: actual. */
static int device_read_extent(struct device *device, void *buf, uint64_t offset, uint64_t *length,
                              bool cached)
{
    unsigned flags = cached ? MAP_CACHED : 0;
    /* Constant changes could invalidate each fill. */
    for (int tries = 0; tries < 3; tries++) {
        struct node *top = index_top(device->index);
        bool is_held;
        int ret = node_begin_io(top, flags, &is_held);
        if (ret)
            return ret;
        struct chain_extent found = {.length = *length};
        enum index_answer answer = index_find(device->index, top, offset, &found);
        if (answer != INDEX_MISS)
            *length = found.length;
        /* Extents of frozen images are stable (I5): changes do not wait for this read's disk. */
        bool is_in_top = answer == INDEX_FOUND && found.node == top;
        assert(!is_in_top || is_held || atomic_load(&top->read_only)); /* I5 */
        if (!is_in_top)
            node_end_io(top, is_held);
        if (answer == INDEX_FOUND)
            ret = found_read(&found, buf, cached);
        if (is_in_top)
            node_end_io(top, is_held);
        if (answer == INDEX_FOUND)
            return ret;
        if (answer == INDEX_WALK || index_fill(device->index, offset, flags) != 0)
            break; /* the walk reports the error */
    }
    return cached ? -EAGAIN : node_read(index_top(device->index), buf, offset, *length);
}

static int device_read_range(struct device *device, void *buf, uint64_t offset, uint64_t length,
                             bool cached)
{
    int ret = device_check(device, offset, length);
    for (uint64_t done = 0, n; done < length && ret == 0; done += n) {
        n = length - done;
        ret = device_read_extent(device, (char *)buf + done, offset + done, &n, cached);
    }
    return ret;
}

int device_read(struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    return device_read_range(device, buf, offset, length, false);
}

int device_read_cached(struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    return device_read_range(device, buf, offset, length, true);
}

int device_map(struct device *device, uint64_t offset, struct device_extent *extent)
{
    int ret = device_check(device, offset, extent->length);
    if (ret)
        return ret;
    struct chain_extent found = {.length = extent->length};
    ret = index_map(device->index, offset, MAP_HOLES, &found);
    if (ret)
        return ret;
    *extent = (struct device_extent){
        .length = found.length,
        .is_zero = found.kind != EXTENT_DATA,
        .is_hole = found.kind != EXTENT_DATA,
        .depth = found.depth,
    };
    return 0;
}

int device_prefetch(struct device *device, uint64_t offset, uint64_t length)
{
    const uint64_t most = 64 << 20; /* more would evict pages in regular use */
    int ret = device_check(device, offset, length);
    if (ret)
        return ret;
    uint64_t end = offset + (length < most ? length : most);
    while (offset < end) {
        struct chain_extent extent = {.length = end - offset};
        ret = index_map(device->index, offset, 0, &extent);
        if (ret)
            return ret;
        if (extent.kind == EXTENT_DATA && extent.host != EXTENT_NO_HOST)
            posix_fadvise(extent.node->fd, (off_t)extent.host, (off_t)extent.length,
                          POSIX_FADV_WILLNEED);
        offset += extent.length;
    }
    return 0;
}

static int device_flush_node(struct device *device, struct node *node)
{
    int ret = node_flush(node);
    if (ret)
        device_check_sync(device, node);
    return ret;
}

static bool is_unfrozen(const struct node *node)
{
    return node && !atomic_load(&node->read_only);
}

/* Lowest first: the images above depend on it. */
static int freeze_below(struct device *device, struct node *node)
{
    if (!is_unfrozen(node))
        return 0;
    int ret = freeze_below(device, node->backing);
    if (ret == 0 && (ret = node_freeze(node)))
        device_check_sync(device, node);
    return ret;
}

int device_freeze(struct device *device)
{
    LOCK_GUARD(&device->freeze_lock);
    CLEANUP(node) struct node *top = device_top(device);
    return freeze_below(device, top->backing);
}

int device_flush(struct device *device)
{
    int ret = device_check(device, 0, 0);
    if (ret)
        return ret;
    CLEANUP(node) struct node *top = device_top(device);
    if (is_unfrozen(top->backing) && (ret = device_freeze(device)))
        return ret;
    assert(!is_unfrozen(top->backing)); /* I3 */
    if (top->backing && (ret = device_flush_node(device, top->backing)))
        return ret; /* its sync failed */
    return device_flush_node(device, top);
}

enum change { CHANGE_WRITE, CHANGE_ZERO, CHANGE_DISCARD };

static int device_change_top(struct device *device, enum change change, const void *buf,
                             uint64_t offset, uint64_t length, unsigned flags)
{
    struct node_change wanted = {
        .buf = buf, .offset = offset, .length = length, .unmap = !(flags & IO_NO_HOLE)};
    switch (change) {
    case CHANGE_WRITE:
        wanted.kind = NODE_WRITE;
        break;
    case CHANGE_ZERO:
        wanted.kind = flags & IO_FAST ? NODE_ZERO_FAST : NODE_ZERO;
        break;
    case CHANGE_DISCARD:
        wanted.kind = NODE_DISCARD;
        break;
    }
    return node_change(device->top, &wanted);
}

static int device_check_change(struct device *device, uint64_t offset, uint64_t length)
{
    int ret = device_check(device, offset, length);
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

static struct pieces pieces_begin(const struct device *device, enum change change)
{
    uint64_t most = index_top(device->index)->cluster_bytes * PIECE_CLUSTERS_MAX;
    struct pieces pieces = {.max = PIECE_BYTES_MAX};
    if (change == CHANGE_WRITE)
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

static uint64_t device_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void pieces_adapt(struct pieces *pieces, uint64_t took_us)
{
    if (took_us > PIECE_LONG_US && pieces->bytes > pieces->min)
        pieces->bytes /= 2;
    else if (took_us < PIECE_SHORT_US && pieces->bytes < pieces->max)
        pieces->bytes *= 2;
}

static int device_change_piece(struct device *device, enum change change, const void *buf,
                               uint64_t offset, uint64_t length, unsigned flags)
{
    int ret;
    do {
        ret = node_make_room(index_top(device->index));
        if (ret)
            break;
        fence_enter(&device->fence);
        ret = device_change_top(device, change, buf, offset, length, flags);
        fence_leave(&device->fence);
    } while (ret == NODE_NEEDS_ROOM);
    assert(ret <= 0); /* I1 */
    return ret;
}

static int device_change_pieces(struct device *device, enum change change, const char *buf,
                                uint64_t offset, uint64_t length, unsigned flags)
{
    struct pieces pieces = pieces_begin(device, change);
    int ret;
    do {
        uint64_t n = piece_length(&pieces, offset, length), begun_us = device_now_us();
        assert(n > 0 && n <= pieces.max); /* I2 */
        ret = device_change_piece(device, change, buf, offset, n, flags);
        pieces_adapt(&pieces, device_now_us() - begun_us);
        flags &= ~(unsigned)IO_FAST; /* the first piece has decided */
        buf = buf ? buf + n : NULL;
        offset += n;
        length -= n;
    } while (length && ret == 0);
    return ret;
}

static int device_change(struct device *device, enum change change, const void *buf,
                         uint64_t offset, uint64_t length, unsigned flags)
{
    int ret = device_check_change(device, offset, length);
    if (ret)
        return ret;
    if (length <= PIECE_ALONE_BYTES)
        ret = device_change_piece(device, change, buf, offset, length, flags);
    else
        ret = device_change_pieces(device, change, buf, offset, length, flags);
    if (!ret && (flags & IO_FUA))
        ret = device_flush(device);
    return ret;
}

int device_write(struct device *device, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags)
{
    return device_change(device, CHANGE_WRITE, buf, offset, length, flags);
}

int device_write_cached(struct device *device, const void *buf, uint64_t offset, uint64_t length)
{
    int ret = device_check_change(device, offset, length);
    if (ret)
        return ret;
    if (!fence_try_enter(&device->fence))
        return -EAGAIN;
    ret = node_write_cached(device->top, buf, offset, length);
    fence_leave(&device->fence);
    return ret;
}

int device_zero(struct device *device, uint64_t offset, uint64_t length, unsigned flags)
{
    return device_change(device, CHANGE_ZERO, NULL, offset, length, flags);
}

int device_discard(struct device *device, uint64_t offset, uint64_t length, unsigned flags)
{
    return device_change(device, CHANGE_DISCARD, NULL, offset, length, flags);
}

/* ---- statistics ---- */

void device_count(struct device *device, enum device_op op, uint64_t bytes)
{
    static atomic_uint threads;
    static _Thread_local unsigned number; /* of this thread, from 1 */
    if (number == 0)
        number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
    atomic_fetch_add_explicit(&device->counters[number % DEVICE_COUNTERS].bytes[op], bytes,
                              memory_order_relaxed);
}

uint64_t device_counted_bytes(const struct device *device, enum device_op op)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < DEVICE_COUNTERS; i++)
        bytes += atomic_load_explicit(&device->counters[i].bytes[op], memory_order_relaxed);
    return bytes;
}
