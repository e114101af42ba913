/* SPDX-License-Identifier: Apache-2.0
 *
 * See twin.h.
 *
 * A write is repeated in the low image. After any other change the top is asked what it holds now,
 * since the same request may leave another content in an image of another format or granularity.
 */
#include "block/device/twin.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

enum {
    TWIN_ZEROS_BYTES = 4 << 20, /* that are copied at a time, while changes wait */
    TWIN_YIELDS_MAX = 1000,
};

/* A cluster of the top, or more of a disk that has too many. */
static uint64_t part_bytes_of(const struct node *top)
{
    uint64_t bytes = top->cluster_bytes;
    while (top->size_bytes / bytes >= TWIN_PARTS_MAX)
        bytes *= 2;
    return bytes;
}

struct twin *twin_new(struct node *top, struct node *low)
{
    struct twin *twin = calloc(1, sizeof(*twin));
    if (!twin)
        return NULL;
    assert(top->backing == low && low->size_bytes == top->size_bytes);
    pthread_mutex_init(&twin->lock, NULL);
    twin->top = top;
    twin->low = low;
    twin->part_bytes = part_bytes_of(top);
    twin->was_allocated = calloc(top->size_bytes / twin->part_bytes / CHAR_BIT + 1, 1);
    twin->buffer = malloc(TWIN_BUFFER_BYTES);
    if (twin->was_allocated && twin->buffer)
        return twin;
    twin_free(twin);
    return NULL;
}

void twin_free(struct twin *twin)
{
    pthread_mutex_destroy(&twin->lock);
    free(twin->was_allocated);
    free(twin->buffer);
    free(twin);
}

static enum twin_state twin_state(struct twin *twin)
{
    return atomic_load(&twin->state);
}

/* Whether the low image is not changed any more. It is while HELD, whatever has failed (P3). */
static bool twin_has_ended(struct twin *twin)
{
    return atomic_load(&twin->error) && twin_state(twin) == TWIN_MIRRORING;
}

/* The first error stays. What the request that met it is to return (P3). */
static int twin_fail_locked(struct twin *twin, int ret)
{
    assert(ret < 0);
    if (!atomic_load(&twin->error))
        atomic_store(&twin->error, -ret);
    return twin_state(twin) == TWIN_MIRRORING ? 0 : ret;
}

/* ---- what the top holds ---- */

/* Its own extent, without its data. */
static int top_map(struct twin *twin, uint64_t offset, struct extent *extent)
{
    bool is_held;
    int ret = node_begin_io(twin->top, 0, &is_held);
    if (ret)
        return ret;
    ret = twin->top->driver->map(twin->top, offset, 0, extent);
    node_end_io(twin->top, is_held);
    return ret;
}

/* Makes in the low image what the top holds at the beginning of a range: P1. *length: in: maximum;
 * out: actual. */
static int low_push(struct twin *twin, uint64_t offset, uint64_t *length, bool *is_pushed)
{
    struct extent extent = {.length = *length};
    struct node_change change = {.kind = NODE_WRITE, .buf = twin->buffer, .offset = offset};
    int ret = top_map(twin, offset, &extent);
    *is_pushed = ret == 0 && extent.kind != EXTENT_BACKING;
    if (*is_pushed) {
        const uint64_t most = extent.kind == EXTENT_DATA ? TWIN_BUFFER_BYTES : TWIN_ZEROS_BYTES;
        if (extent.length > most)
            extent.length = most;
    }
    *length = change.length = extent.length;
    if (!*is_pushed)
        return ret;
    if (extent.kind == EXTENT_ZERO) {
        change.kind = NODE_ZERO;
        change.unmap = true;
    } else if ((ret = node_read(twin->top, twin->buffer, offset, extent.length))) {
        return ret;
    }
    return node_change(twin->low, &change);
}

static int low_push_range(struct twin *twin, uint64_t offset, uint64_t length)
{
    int ret = 0;
    bool is_pushed;
    for (uint64_t n; length > 0 && ret == 0; offset += n, length -= n) {
        n = length;
        ret = low_push(twin, offset, &n, &is_pushed);
    }
    return ret;
}

/* ---- changes ---- */

int twin_fail(struct twin *twin, int ret)
{
    LOCK_GUARD(&twin->lock);
    return twin_fail_locked(twin, ret);
}

int twin_make_room(struct twin *twin)
{
    int ret = twin_has_ended(twin) ? 0 : node_make_room(twin->low);
    return ret ? twin_fail(twin, ret) : 0;
}

/* After the change of the top. */
static int twin_mirror_locked(struct twin *twin, const struct node_change *change)
{
    if (twin_has_ended(twin))
        return 0;
    assert(twin->top->backing == twin->low); /* P1 */
    int ret = change->kind == NODE_WRITE ? node_change(twin->low, change)
                                         : low_push_range(twin, change->offset, change->length);
    return ret < 0 ? twin_fail_locked(twin, ret) : ret;
}

static int twin_change_locked(struct twin *twin, const struct node_change *change)
{
    if (twin_state(twin) == TWIN_SWAPPED)
        return node_change(twin->low, change);
    int ret = node_change(twin->top, change);
    if (ret == 0)
        return twin_mirror_locked(twin, change);
    if (ret < 0 && ret != -EOPNOTSUPP) /* P2: it is not known what the top has there now */
        (void)twin_fail_locked(twin, ret);
    return ret;
}

int twin_change(struct twin *twin, const struct node_change *change)
{
    atomic_fetch_add(&twin->waiting, 1);
    LOCK_GUARD(&twin->lock);
    atomic_fetch_sub(&twin->waiting, 1);
    return twin_change_locked(twin, change);
}

int twin_flush(struct twin *twin)
{
    int ret = twin_has_ended(twin) ? 0 : node_flush(twin->low);
    return ret ? twin_fail(twin, ret) : 0;
}

/* ---- the job ---- */

/* Else the thread that copies would have the lock again before those who wait wake up. */
static void twin_let_others(struct twin *twin)
{
    for (int i = 0; i < TWIN_YIELDS_MAX && atomic_load(&twin->waiting); i++)
        sched_yield();
}

static bool part_was_allocated(const struct twin *twin, uint64_t part)
{
    return twin->was_allocated[part / CHAR_BIT] >> part % CHAR_BIT & 1;
}

int twin_find(struct twin *twin, uint64_t *offset)
{
    struct extent extent = {.length = twin->top->size_bytes - *offset};
    if (extent.length == 0)
        return 1;
    int ret = top_map(twin, *offset, &extent);
    if (ret)
        return ret;
    const uint64_t end = *offset + extent.length;
    if (extent.kind != EXTENT_BACKING)
        for (uint64_t part = *offset / twin->part_bytes; part * twin->part_bytes < end; part++)
            twin->was_allocated[part / CHAR_BIT] |= (unsigned char)(1U << part % CHAR_BIT);
    *offset = end;
    return 0;
}

/* From `offset` on: up to which parts were allocated, or were not; at most `end`. */
static uint64_t alike_end(const struct twin *twin, uint64_t offset, uint64_t end, bool is_allocated)
{
    while (offset < end && part_was_allocated(twin, offset / twin->part_bytes) == is_allocated)
        offset = (offset / twin->part_bytes + 1) * twin->part_bytes;
    return offset < end ? offset : end;
}

int twin_copy(struct twin *twin, uint64_t *offset, uint64_t *copied)
{
    *copied = 0;
    twin_let_others(twin);
    uint64_t end = twin->top->size_bytes;
    *offset = alike_end(twin, *offset, end, false);
    if (end - *offset > TWIN_ZEROS_BYTES)
        end = *offset + TWIN_ZEROS_BYTES;
    uint64_t length = alike_end(twin, *offset, end, true) - *offset;
    LOCK_GUARD(&twin->lock);
    assert(twin_state(twin) == TWIN_MIRRORING);
    if (atomic_load(&twin->error))
        return -atomic_load(&twin->error);
    bool is_pushed = false;
    if (length == 0)
        return 1;
    int ret = low_push(twin, *offset, &length, &is_pushed);
    if (ret)
        return ret;
    *offset += length;
    *copied = is_pushed ? length : 0;
    return 0;
}

int twin_hold(struct twin *twin)
{
    LOCK_GUARD(&twin->lock);
    assert(twin_state(twin) == TWIN_MIRRORING);
    if (atomic_load(&twin->error))
        return -atomic_load(&twin->error);
    atomic_store(&twin->state, TWIN_HELD);
    return 0;
}

void twin_release(struct twin *twin)
{
    LOCK_GUARD(&twin->lock);
    assert(twin_state(twin) == TWIN_HELD);
    atomic_store(&twin->state, TWIN_MIRRORING);
}
