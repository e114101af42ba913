/* SPDX-License-Identifier: Apache-2.0
 *
 * A map with MAP_CACHED returns -EAGAIN if a lock of the image is not free: io_lock, which a flush
 * is about to acquire exclusively, or the driver's lock, whose holder may be reading a table.
 */
#include "block/format/qcow2/state.h"
#include "block/image/walk.h"
#include "tests/lib/testlib.h"

static int map_cached(struct node *node)
{
    struct walk_memory memory = {0};
    struct walks walks;
    struct chain_extent found = {.length = 512};
    walks_init(&walks, &memory);
    int ret = walks_map(&walks, &node, 1, 0, 0, MAP_CACHED, &found);
    walks_destroy(&walks);
    return ret;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(maps_are_turned_away)
{
    const struct image_spec spec = {.size_bytes = 1 << 20};
    struct node *node = overlay_must_create("image.qcow2", &spec, NULL);
    struct qcow2 *q = node->state;
    assert_int_equal(node_write(node, "content", 0, 7), 0);
    assert_int_equal(map_cached(node), 0);

    pthread_rwlock_wrlock(&node->io_lock);
    assert_int_equal(map_cached(node), -EAGAIN);
    pthread_rwlock_unlock(&node->io_lock);

    pthread_mutex_lock(&q->lock);
    assert_int_equal(map_cached(node), -EAGAIN);
    pthread_mutex_unlock(&q->lock);

    assert_int_equal(map_cached(node), 0);
    node_must_close(&node);
}
