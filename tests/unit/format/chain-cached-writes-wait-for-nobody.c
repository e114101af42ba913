/* SPDX-License-Identifier: Apache-2.0
 *
 * A cached write is done as a whole and at once, or not at all: it returns -EAGAIN if it would wait
 * for a lock, for a table that is not cached, for another write to the same cluster, or for old
 * content that it copies from below.
 */
#include "block/format/qcow2/range-lock.h"
#include "tests/lib/testlib.h"

#include <time.h>

enum { DISK_BYTES = 8 << 20, CLUSTER = 64 << 10, SUBCLUSTER = CLUSTER / QCOW2_SUBCLUSTERS };

static unsigned char bytes[DISK_BYTES];

static void must_be(struct node *node, uint64_t offset, uint64_t length, int value)
{
    CLEANUP_FREE unsigned char *found = malloc(length);
    assert_int_equal(node_read(node, found, offset, length), 0);
    for (uint64_t i = 0; i < length; i++)
        assert_int_equal(found[i], value);
}

static int write_cached(struct node *node, uint64_t offset, uint64_t length, int value)
{
    memset(bytes, value, length);
    return node_write_cached(node, bytes, offset, length);
}

static void must_write(struct node *node, uint64_t offset, uint64_t length, int value)
{
    memset(bytes, value, length);
    assert_int_equal(node_write(node, bytes, offset, length), 0);
}

static struct node *disk_create(const char *name, bool extended_l2, struct node *backing)
{
    const struct image_spec spec = {.size_bytes = DISK_BYTES,
                                    .cluster_bytes = CLUSTER,
                                    .extended_l2 = extended_l2,
                                    .backing_file = backing ? backing->path : NULL,
                                    .backing_format = backing ? "qcow2" : NULL};
    struct node *node = overlay_must_create(name, &spec, backing);
    must_write(node, 0, 512, 1); /* its tables are there */
    return node;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(what_needs_nothing_is_written)
{
    struct node *node = disk_create("image.qcow2", false, NULL);
    assert_int_equal(write_cached(node, 512, 512, 2), 0);           /* in place */
    assert_int_equal(write_cached(node, CLUSTER + 512, 512, 3), 0); /* zeros around it */
    assert_int_equal(write_cached(node, 8 * CLUSTER, CLUSTER, 4), 0);
    must_write(node, 2 * CLUSTER, CLUSTER, 5); /* does not follow its neighbour in the file */
    assert_int_equal(write_cached(node, 0, 3 * CLUSTER, 6), 0);
    assert_int_equal(write_cached(node, 0, 0, 7), 0);
    must_be(node, 0, 3 * CLUSTER, 6);
    must_be(node, 3 * CLUSTER, 5 * CLUSTER, 0);
    must_be(node, 8 * CLUSTER, CLUSTER, 4);
    node_must_close(&node);
    image_must_be_clean("image.qcow2");
}

TEST(what_waits_for_locks_is_turned_away)
{
    struct node *node = disk_create("locks.qcow2", false, NULL);
    struct qcow2 *q = node->state;
    struct qcow2_range_lock range = {.first = 1, .last = 1};

    pthread_rwlock_wrlock(&node->io_lock);
    assert_int_equal(write_cached(node, 0, 512, 2), -EAGAIN);
    pthread_rwlock_unlock(&node->io_lock);

    pthread_mutex_lock(&q->lock);
    assert_int_equal(write_cached(node, 0, 512, 2), -EAGAIN);
    qcow2_range_lock_begin(q, &range);
    pthread_mutex_unlock(&q->lock);

    assert_int_equal(write_cached(node, CLUSTER, 512, 2), -EAGAIN);
    assert_int_equal(write_cached(node, 0, 2 * CLUSTER, 2), -EAGAIN);
    must_be(node, 0, 512, 1);
    pthread_mutex_lock(&q->lock);
    qcow2_range_lock_end(q, &range);
    pthread_mutex_unlock(&q->lock);
    assert_int_equal(write_cached(node, CLUSTER, 512, 2), 0);
    node_must_close(&node);
}

TEST(what_waits_for_tables_is_turned_away)
{
    struct node *node = disk_create("tables.qcow2", false, NULL);
    node_must_close(&node);
    node = chain_must_open("tables.qcow2", "qcow2", false);
    assert_int_equal(write_cached(node, 0, 512, 2), -EAGAIN);
    must_be(node, 0, 512, 1); /* reads the table */
    assert_int_equal(write_cached(node, 0, 512, 2), 0);
    must_be(node, 0, 512, 2);
    node_must_close(&node);
}

TEST(what_waits_for_what_is_below_is_turned_away)
{
    struct node *base = disk_create("base.qcow2", false, NULL);
    must_write(base, 0, DISK_BYTES, 9);
    struct node *node = disk_create("overlay.qcow2", true, base);
    struct qcow2 *q = base->state;
    pthread_mutex_lock(&q->lock); /* it may be reading a table */
    assert_int_equal(write_cached(node, SUBCLUSTER + 512, 512, 2), -EAGAIN);
    assert_int_equal(write_cached(node, CLUSTER, SUBCLUSTER + 512, 2), -EAGAIN);
    assert_int_equal(write_cached(node, CLUSTER - 512, SUBCLUSTER + 512, 2), -EAGAIN);
    pthread_mutex_unlock(&q->lock);
    must_be(node, 512, 2 * CLUSTER, 9);
    assert_int_equal(write_cached(node, CLUSTER, SUBCLUSTER, 3), 0); /* copies nothing */
    assert_int_equal(write_cached(node, CLUSTER + 512, 512, 4), 0);  /* nor does this, in place */
    /* In place at first, but not all of it: it would be half in a snapshot that is taken now. */
    assert_int_equal(write_cached(node, CLUSTER, 2 * CLUSTER, 5), -EAGAIN);
    must_be(node, CLUSTER, 512, 3);
    must_be(node, CLUSTER + 512, 512, 4);
    must_be(node, CLUSTER + SUBCLUSTER, CLUSTER, 9);
    node_must_close(&node);
    node_must_close(&base);
    image_must_be_clean("overlay.qcow2");
}
