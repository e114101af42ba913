/* SPDX-License-Identifier: Apache-2.0
 *
 * A top caches many slices of its tables, a frozen image none from the freeze on, and few while it
 * is read. The image reads as before.
 */
#include "block/format/qcow2/state.h"
#include "tests/lib/testlib.h"

#include <string.h>

/* A table of 4 KiB, one slice, maps 2 MiB. */
enum { STEP_BYTES = 2 << 20, STEPS = 800, SLICES_FROZEN_MAX = 256 };

static void fill(unsigned char bytes[512], unsigned step)
{
    memset(bytes, (int)(step % 251 + 1), 512);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(few_are_kept)
{
    unsigned char bytes[512], read[512];
    const struct image_spec spec = {.size_bytes = (uint64_t)STEPS * STEP_BYTES,
                                    .cluster_bytes = 4096};
    struct node *node = overlay_must_create("image.qcow2", &spec, NULL);
    const struct qcow2 *q = node->state;
    for (unsigned i = 0; i < STEPS; i++) {
        fill(bytes, i);
        assert_int_equal(node_write(node, bytes, (uint64_t)i * STEP_BYTES, sizeof(bytes)), 0);
    }
    assert_true(q->cache.count > STEPS);

    assert_int_equal(node_freeze(node), 0);
    assert_int_equal(q->cache.count, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        fill(bytes, i);
        assert_int_equal(node_read(node, read, (uint64_t)i * STEP_BYTES, sizeof(read)), 0);
        assert_memory_equal(read, bytes, sizeof(read));
    }
    assert_in_range(q->cache.count, 1, SLICES_FROZEN_MAX);
    node_unref(node);
    image_must_be_clean("image.qcow2");
}
