/* SPDX-License-Identifier: Apache-2.0
 *
 * A flush punches holes where clusters were released, which takes long; no request waits for it.
 * Adjacent clusters become one hole in whatever order they were released; a cluster that is still
 * referenced does not.
 *
 * The fallocate that punches is this program's own: it checks that the image's locks are free, then
 * writes and reads itself.
 */
#include "tests/lib/testlib.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLUSTER = 64 << 10, CLUSTERS = 128, SIZE = CLUSTERS * CLUSTER };

static struct {
    struct node *node; /* what is written to and read from meanwhile, or NULL */
    unsigned holes;
    uint64_t bytes, written;
    bool had_to_wait;
} punch;

static void io_must_go_on(struct node *node)
{
    unsigned char wrote[512], read[512];
    struct extent extent = {.length = CLUSTER};
    bool is_held;
    if (node_begin_io(node, MAP_CACHED, &is_held) != 0) {
        punch.had_to_wait = true;
        return;
    }
    punch.had_to_wait |= node->driver->map(node, 0, MAP_CACHED, &extent) != 0;
    node_end_io(node, is_held);
    if (punch.had_to_wait)
        return;
    uint64_t at = SIZE - CLUSTER * ++punch.written; /* takes a cluster */
    memset(wrote, 7, sizeof(wrote));
    assert_int_equal(node_write(node, wrote, at, sizeof(wrote)), 0);
    assert_int_equal(node_read(node, read, at, sizeof(read)), 0);
    assert_memory_equal(wrote, read, sizeof(read));
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        punch.holes++;
        punch.bytes += (uint64_t)length;
        if (punch.node)
            io_must_go_on(punch.node);
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

static void clusters_write(struct node *node, unsigned from, unsigned to)
{
    static unsigned char bytes[CLUSTER];
    for (unsigned i = from; i < to; i++) {
        memset(bytes, (int)i + 1, CLUSTER);
        assert_int_equal(node_write(node, bytes, (uint64_t)i * CLUSTER, CLUSTER), 0);
    }
}

static struct node *node_with_clusters(const char *name, unsigned count)
{
    const struct image_spec spec = {.size_bytes = SIZE, .cluster_bytes = CLUSTER};
    struct node *node = overlay_must_create(name, &spec, NULL);
    clusters_write(node, 0, count);
    assert_int_equal(node_flush(node), 0);
    memset(&punch, 0, sizeof(punch));
    return node;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(io_goes_on)
{
    struct node *node = node_with_clusters("goes-on.qcow2", 16);
    /* Two holes. */
    assert_int_equal(node_discard(node, CLUSTER, CLUSTER), 0);
    assert_int_equal(node_discard(node, 5 * CLUSTER, 3 * CLUSTER), 0);
    punch.node = node;
    assert_int_equal(node_flush(node), 0);
    punch.node = NULL;
    assert_false(punch.had_to_wait);
    assert_int_equal(punch.written, 2);

    /* What was written meanwhile is not in the holes, and what comes later may be. */
    clusters_write(node, 20, 24);
    CLEANUP(flat) struct flat *flat = flat_new(SIZE);
    for (unsigned i = 0; i < 24; i++)
        if (i < 16 ? i != 1 && (i < 5 || i > 7) : i >= 20)
            memset(flat->bytes + i * CLUSTER, (int)i + 1, CLUSTER);
    for (unsigned i = 1; i <= 2; i++)
        memset(flat->bytes + SIZE - i * CLUSTER, 7, 512);
    node_must_close(&node);
    image_must_be_clean("goes-on.qcow2");
    flat_must_match_image(flat, "goes-on.qcow2", "qcow2");
}

TEST(neighbours_are_one_hole)
{
    static const unsigned order[] = {9, 2, 5, 3, 8, 7, 6, 4};
    struct node *node = node_with_clusters("neighbours.qcow2", 16);
    for (unsigned i = 0; i < sizeof(order) / sizeof(*order); i++)
        assert_int_equal(node_discard(node, order[i] * (uint64_t)CLUSTER, CLUSTER), 0);
    assert_int_equal(node_flush(node), 0);
    assert_int_equal(punch.holes, 1);
    assert_int_equal(punch.bytes, 8 * CLUSTER);
    node_must_close(&node);
    image_must_be_clean("neighbours.qcow2");
}

/* An internal snapshot has the old content. */
TEST(what_is_shared_stays)
{
    struct node *node = node_with_clusters("shared.qcow2", 4);
    node_must_close(&node);
    shell("qemu-img snapshot -c before shared.qcow2");
    node = chain_must_open("shared.qcow2", "qcow2", false);
    assert_int_equal(node_discard(node, 0, 4 * CLUSTER), 0);
    assert_int_equal(node_flush(node), 0);
    assert_int_equal(punch.holes, 0);
    node_must_close(&node);
    image_must_be_clean("shared.qcow2");
    shell("qemu-img snapshot -a before shared.qcow2 && "
          "qemu-io -f qcow2 -c 'read -P 4 196608 65536' shared.qcow2 | grep -q '^read'");
}

/* Compressed clusters share one: it is let go as often as it has references. */
TEST(many_references_are_one_hole)
{
    shell("qemu-img create -q -f qcow2 packed.qcow2 %u && for i in 0 1 2 3 4 5 6 7; do "
          "echo write -c -P 3 ${i}M 64k; done | qemu-io -f qcow2 packed.qcow2 >/dev/null",
          SIZE);
    struct node *node = chain_must_open("packed.qcow2", "qcow2", false);
    memset(&punch, 0, sizeof(punch));
    assert_int_equal(node_discard(node, 0, SIZE / 2), 0);
    assert_int_equal(node_flush(node), 0);
    assert_int_equal(punch.holes, 0);
    assert_int_equal(node_discard(node, 0, SIZE), 0);
    assert_int_equal(node_flush(node), 0);
    assert_int_equal(punch.holes, 1);
    assert_int_equal(punch.bytes, CLUSTER);
    node_must_close(&node);
    image_must_be_clean("packed.qcow2");
}
