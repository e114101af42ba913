/* SPDX-License-Identifier: Apache-2.0
 *
 * Random requests to a node, applied to its flat reference too.
 *
 *     kind    letter   the reference afterwards
 *     read    r        is what was read, byte for byte
 *     write   w        the data; m: of one of many ranges
 *     zero    z, u     zeros (u: space may be given back)
 *     discard d        each byte as before or zero, whichever is read back first; then final
 *     query   q        a zero extent reads as zeros; a backing extent as the backing node
 *     flush   f        unchanged
 *
 * Sizes and alignments favour what goes wrong: cluster and sector edges, the disk's end, the place
 * that was touched last.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MANY_MAX = 40, MANY_BYTES = 1 << 20 };

static uint64_t exercise_length(struct exercise *e)
{
    uint64_t most = e->flat->size_bytes, usual = 128 * 1024;
    if (random_chance(&e->random, 3))
        usual = 3 * e->cluster_bytes;
    uint64_t limit = usual < most ? usual : most;
    unsigned bits = 0;
    while ((2ULL << bits) <= limit)
        bits++;
    uint64_t length = (1ULL << random_below(&e->random, bits + 1));
    return length + random_below(&e->random, length < limit - length ? length : limit - length);
}

static struct disk_range exercise_range(struct exercise *e)
{
    const uint64_t aligns[] = {1, 512, 4096, e->cluster_bytes / 32, e->cluster_bytes};
    uint64_t size = e->flat->size_bytes;
    uint64_t align = aligns[random_below(&e->random, sizeof(aligns) / sizeof(*aligns))];
    uint64_t length = exercise_length(e);
    uint64_t offset = random_below(&e->random, size);
    if (random_chance(&e->random, 30))
        offset = e->last_offset + random_below(&e->random, 2 * e->cluster_bytes);
    if (random_chance(&e->random, 2))
        offset = size - length;
    if (align > 1 && random_chance(&e->random, 80)) {
        offset -= offset % align;
        length += align - 1 - (length + align - 1) % align;
    }
    if (offset >= size)
        offset %= size;
    if (length > size - offset)
        length = size - offset;
    e->last_offset = offset;
    return (struct disk_range){offset, length};
}

static void exercise_note(struct exercise *e, char kind, struct disk_range r)
{
    unsigned slot = e->count++ % EXERCISE_LOG_ENTRIES;
    e->log[slot].kind = kind;
    e->log[slot].offset = r.offset;
    e->log[slot].length = r.length;
}

/* The latest requests that touched the cluster around `offset`, oldest first: how the failure came
 * about. */
static void exercise_print_history(const struct exercise *e, uint64_t offset)
{
    uint64_t low = offset - offset % e->cluster_bytes, high = low + e->cluster_bytes;
    uint64_t first = e->count > EXERCISE_LOG_ENTRIES ? e->count - EXERCISE_LOG_ENTRIES : 0;
    for (uint64_t i = first; i < e->count; i++) {
        const __typeof__(e->log[0]) *entry = &e->log[i % EXERCISE_LOG_ENTRIES];
        if (entry->offset < high && entry->offset + entry->length > low)
            fprintf(stderr, "  request %" PRIu64 ": %c %" PRIu64 "+%" PRIu64 "\n", i + 1,
                    entry->kind, entry->offset, entry->length);
    }
}

static void exercise_expect(struct exercise *e, int ret, const char *verb, struct disk_range r)
{
    if (ret)
        fail_msg("%s: request %" PRIu64 ", %s of %" PRIu64 " bytes at %" PRIu64 ": %s", e->what,
                 e->count, verb, r.length, r.offset, strerror(-ret));
}

static void exercise_read(struct exercise *e, struct disk_range r)
{
    CLEANUP_FREE unsigned char *buf = malloc(r.length);
    assert_non_null(buf);
    exercise_note(e, 'r', r);
    exercise_expect(e, node_read(e->node, buf, r.offset, r.length), "read", r);
    uint64_t good = bytes_first_difference(buf, e->flat->bytes + r.offset, r.length);
    if (good == r.length)
        return;
    exercise_print_history(e, r.offset + good);
    fail_msg("%s: request %" PRIu64 ": byte %" PRIu64 " reads as 0x%02x, not 0x%02x", e->what,
             e->count, r.offset + good, buf[good], e->flat->bytes[r.offset + good]);
}

static void exercise_write(struct exercise *e, struct disk_range r)
{
    CLEANUP_FREE unsigned char *buf = malloc(r.length);
    assert_non_null(buf);
    exercise_note(e, 'w', r);
    if (random_chance(&e->random, 90))
        random_fill(&e->random, buf, r.length);
    else
        memset(buf, random_chance(&e->random, 50) ? 0 : 0xa5, r.length);
    memcpy(e->flat->bytes + r.offset, buf, r.length);
    /* As a connection does it: at once if that can be, else by another thread. */
    int ret = random_chance(&e->random, 50) ? node_write_cached(e->node, buf, r.offset, r.length)
                                            : -EAGAIN;
    if (ret == -EAGAIN)
        ret = node_write(e->node, buf, r.offset, r.length);
    exercise_expect(e, ret, "write", r);
}

/* Ascending ranges from r on, some of them neighbours; the sum of their lengths. */
static uint64_t exercise_many(struct exercise *e, struct disk_range r,
                              struct disk_range ranges[MANY_MAX], size_t *count)
{
    uint64_t bytes = 0, most = random_between(&e->random, 1, MANY_MAX);
    for (*count = 0; *count < most && r.offset < e->flat->size_bytes; (*count)++) {
        uint64_t left = e->flat->size_bytes - r.offset;
        r.length = r.length < left ? r.length : left;
        if (bytes + r.length > MANY_BYTES)
            break;
        exercise_note(e, 'm', r);
        ranges[*count] = r;
        bytes += r.length;
        r.offset += r.length;
        if (random_chance(&e->random, 50))
            r.offset += random_below(&e->random, 2 * e->cluster_bytes) / 512 * 512;
        if (random_chance(&e->random, 30))
            r.length = exercise_length(e);
    }
    return bytes;
}

static void exercise_write_many(struct exercise *e, struct disk_range r)
{
    struct disk_range ranges[MANY_MAX];
    size_t count;
    uint64_t done = 0, bytes = exercise_many(e, r, ranges, &count);
    CLEANUP_FREE unsigned char *buf = aligned_alloc(4096, MANY_BYTES);
    assert_non_null(buf);
    random_fill(&e->random, buf, bytes);
    for (size_t i = 0; i < count; done += ranges[i++].length)
        memcpy(e->flat->bytes + ranges[i].offset, buf + done, ranges[i].length);
    bool is_direct = random_chance(&e->random, 50);
    if (is_direct)
        node_open_direct(e->node);
    exercise_expect(e, node_write_many(e->node, buf, ranges, count, is_direct), "write of many", r);
    node_close_direct(e->node);
}

static void exercise_zero(struct exercise *e, struct disk_range r)
{
    bool unmap = random_chance(&e->random, 50);
    exercise_note(e, unmap ? 'u' : 'z', r);
    memset(e->flat->bytes + r.offset, 0, r.length);
    exercise_expect(e, node_zero(e->node, r.offset, r.length, unmap), "zero", r);
}

static void exercise_discard(struct exercise *e, struct disk_range r)
{
    CLEANUP_FREE unsigned char *buf = malloc(r.length);
    assert_non_null(buf);
    exercise_note(e, 'd', r);
    exercise_expect(e, node_discard(e->node, r.offset, r.length), "discard", r);
    exercise_expect(e, node_read(e->node, buf, r.offset, r.length), "read after discard", r);
    unsigned char *old = e->flat->bytes + r.offset;
    for (uint64_t i = 0; i < r.length; i++) {
        if (buf[i] == old[i] || buf[i] == 0)
            continue;
        exercise_print_history(e, r.offset + i);
        fail_msg("%s: request %" PRIu64 ": discarded byte %" PRIu64 " reads as 0x%02x, was 0x%02x",
                 e->what, e->count, r.offset + i, buf[i], old[i]);
    }
    memcpy(old, buf, r.length);
}

/* What the backing node of `node` holds in the range: zeros where it ends, or where there is none.
 */
static void backing_read(struct exercise *e, unsigned char *buf, struct disk_range r)
{
    const struct node *node = e->node;
    uint64_t there = 0;
    if (node->backing && r.offset < node->backing->size_bytes)
        there = node->backing->size_bytes - r.offset;
    if (there > r.length)
        there = r.length;
    memset(buf, 0, r.length);
    if (there)
        exercise_expect(e, node_read(node->backing, buf, r.offset, there), "read of backing", r);
}

static void exercise_query(struct exercise *e, struct disk_range r)
{
    CLEANUP_FREE unsigned char *buf = malloc(r.length);
    assert_non_null(buf);
    exercise_note(e, 'q', r);
    while (r.length) {
        struct extent extent = {.kind = (enum extent_kind)99, .length = r.length};
        int ret = e->node->driver->map(e->node, r.offset, MAP_HOLES, &extent);
        enum extent_kind kind = extent.kind;
        struct disk_range part = {r.offset, extent.length};
        exercise_expect(e, ret, "query", r);
        assert_in_range(part.length, 1, r.length);
        assert_true(kind == EXTENT_DATA || kind == EXTENT_ZERO || kind == EXTENT_BACKING);
        const unsigned char *expected = e->flat->bytes + r.offset;
        memset(buf, 0, part.length);
        if (kind == EXTENT_BACKING)
            backing_read(e, buf, part);
        uint64_t good = bytes_first_difference(buf, expected, part.length);
        if (kind != EXTENT_DATA && good != part.length) {
            exercise_print_history(e, r.offset + good);
            fail_msg("%s: request %" PRIu64 ": byte %" PRIu64 " is told to be %s, is not", e->what,
                     e->count, r.offset + good, kind == EXTENT_ZERO ? "zero" : "the backing's");
        }
        r.offset += part.length;
        r.length -= part.length;
    }
}

void exercise_step(struct exercise *e)
{
    struct disk_range r = exercise_range(e);
    uint64_t draw = random_below(&e->random, 1000);
    if (draw < 30) {
        exercise_write_many(e, r);
    } else if (draw < 430) {
        exercise_write(e, r);
    } else if (draw < 740) {
        exercise_read(e, r);
    } else if (draw < 860) {
        exercise_zero(e, r);
    } else if (draw < 950) {
        exercise_discard(e, r);
    } else if (draw < 990) {
        exercise_query(e, r);
    } else {
        exercise_note(e, 'f', (struct disk_range){0, 0});
        exercise_expect(e, node_flush(e->node), "flush", r);
    }
}
