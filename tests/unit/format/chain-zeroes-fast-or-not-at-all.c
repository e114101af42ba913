/* SPDX-License-Identifier: Apache-2.0
 *
 * node_zero_fast(): what an image's entries or its file system can turn into zeros by themselves
 * becomes zeros, everything else is refused with nothing done. qemu-io says what is there
 * afterwards.
 */
#include "tests/lib/testlib.h"

#include <errno.h>

enum { CLUSTER = 64 << 10, DISK_SIZE = 16 * CLUSTER - 512 };

static void make(const char *options)
{
    shell("rm -f base image && qemu-img create -q -f qcow2 base %d &&"
          " qemu-io -f qcow2 -c 'write -P 7 0 %d' base && qemu-img create -q -f qcow2 -o %s image "
          "%d &&"
          " qemu-io -f qcow2 -c 'write -P 8 0 %d' image",
          DISK_SIZE, DISK_SIZE, options, DISK_SIZE, DISK_SIZE);
}

/* Zeroes a range; expects `expected`, and the range to be zero then, or to be as before. */
static void zero(uint64_t offset, uint64_t length, bool unmap, int expected)
{
    struct node *node = chain_must_open("image", "qcow2", false);
    assert_int_equal(node_zero_fast(node, offset, length, unmap), expected);
    node_must_close(&node);
    shell("qemu-io -f qcow2 -c 'read -P %d %llu %llu' image", expected ? 8 : 0,
          (unsigned long long)offset, (unsigned long long)length);
    image_must_be_clean("image");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(whole_clusters_are)
{
    make("backing_file=base,backing_fmt=qcow2");
    zero(CLUSTER, CLUSTER, true, 0);
    zero(14 * CLUSTER, DISK_SIZE - 14 * CLUSTER, true, 0); /* the last one is shorter */
    shell("qemu-io -f qcow2 -c 'read -P 8 0 %d' -c 'read -P 8 %d %d' image", CLUSTER, 2 * CLUSTER,
          12 * CLUSTER);
}

TEST(parts_of_clusters_are_not)
{
    make("backing_file=base,backing_fmt=qcow2");
    zero(CLUSTER + 512, CLUSTER - 512, true, -EOPNOTSUPP);
    zero(CLUSTER, CLUSTER - 512, true, -EOPNOTSUPP);
    zero(3 * CLUSTER, CLUSTER, false, -EOPNOTSUPP); /* space would have to be found */
}

TEST(version_2_cannot_hide_its_backing_image)
{
    make("compat=0.10,backing_file=base,backing_fmt=qcow2");
    zero(CLUSTER, CLUSTER, true, -EOPNOTSUPP);
    make("compat=0.10");
    zero(CLUSTER, CLUSTER, true, 0);
}

TEST(raw_punches_holes)
{
    shell("qemu-img create -q -f raw disk 1M && qemu-io -f raw -c 'write -P 8 0 1M' disk");
    struct node *node = chain_must_open("disk", "raw", false);
    assert_int_equal(node_zero_fast(node, 512, 300000, true), 0);
    node_must_close(&node);
    shell("qemu-io -f raw -c 'read -P 8 0 512' -c 'read -P 0 512 300000' disk");
}
