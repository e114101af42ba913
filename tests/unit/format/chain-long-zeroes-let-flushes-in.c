/* SPDX-License-Identifier: Apache-2.0
 *
 * A flush that frees clusters needs io_lock exclusively, and all other requests wait behind it. So
 * a zero or a discard, however long, lets it in between two clusters.
 *
 * The callback for changes of the map runs in the middle of the request, once for each cluster.
 */
#include "tests/lib/testlib.h"

#include <sched.h>

enum { CLUSTER = 64 << 10, CLUSTERS = 32, SIZE = CLUSTERS * CLUSTER };

static struct {
    pthread_t wanter; /* of the lock */
    bool is_wanted;
    atomic_bool is_had;
    unsigned changes; /* until it was had */
} watch;

static void *want(void *arg)
{
    struct node *node = arg;
    pthread_rwlock_wrlock(&node->io_lock);
    atomic_store(&watch.is_had, true);
    pthread_rwlock_unlock(&node->io_lock);
    return NULL;
}

/* The first change goes on once somebody waits for the lock: it cannot be shared any more then. */
static void changed(void *arg, uint64_t offset, uint64_t length)
{
    struct node *node = arg;
    (void)offset;
    (void)length;
    watch.changes += !atomic_load(&watch.is_had);
    if (watch.is_wanted)
        return;
    watch.is_wanted = true;
    assert_int_equal(pthread_create(&watch.wanter, NULL, want, node), 0);
    while (pthread_rwlock_tryrdlock(&node->io_lock) == 0) {
        pthread_rwlock_unlock(&node->io_lock);
        sched_yield();
    }
}

static struct node *node_watched(const char *name, bool is_full)
{
    static const char bytes[SIZE] = {1};
    const struct image_spec spec = {.size_bytes = SIZE, .cluster_bytes = CLUSTER};
    struct node *node = overlay_must_create(name, &spec, NULL);
    if (is_full)
        assert_int_equal(node_write(node, bytes, 0, SIZE), 0);
    watch.is_wanted = false;
    atomic_store(&watch.is_had, false);
    watch.changes = 0;
    node_watch(node, changed, node);
    return node;
}

static void lock_must_have_been_had(struct node *node)
{
    node_watch(node, NULL, NULL);
    assert_true(watch.is_wanted);
    assert_int_equal(pthread_join(watch.wanter, NULL), 0);
    assert_int_equal(watch.changes, 1);
    node_must_close(&node);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(discards)
{
    struct node *node = node_watched("discard.qcow2", true);
    assert_int_equal(node_discard(node, 0, SIZE), 0);
    lock_must_have_been_had(node);
    image_must_be_clean("discard.qcow2");
}

TEST(zeroes_that_give_space_back)
{
    struct node *node = node_watched("zero.qcow2", true);
    assert_int_equal(node_zero(node, 0, SIZE, true), 0);
    lock_must_have_been_had(node);
    image_must_be_clean("zero.qcow2");
}

TEST(zeroes_that_are_written)
{
    struct node *node = node_watched("written.qcow2", false);
    assert_int_equal(node_zero(node, 0, SIZE, false), 0);
    lock_must_have_been_had(node);
    image_must_be_clean("written.qcow2");
}
