/* SPDX-License-Identifier: Apache-2.0
 *
 * A frozen image knows which of its parts clients have read through a device above it, whether they
 * were found in the index or down the chain; what a reader of a frozen member reads is not marked.
 */
#include "block/image/read-marks.h"
#include "tests/lib/disks.h"

#define GIB (UINT64_C(1) << 30)

enum { MIB = 1 << 20, BYTES = 8192 };

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(parts_are_told_apart)
{
    shell("qemu-img create -q -f qcow2 huge 1T");
    struct node *node = chain_must_open("huge", "qcow2", true);
    assert_false(read_marks_has(node, 0, 1024 * GIB));
    read_marks_set(node, 5 * GIB, 1);
    read_marks_set(node, 10 * GIB - 1, 2);
    read_marks_set(node, 1024 * GIB - 1, 1);
    assert_true(read_marks_has(node, 5 * GIB + 4096, 512));
    assert_false(read_marks_has(node, 6 * GIB, 3 * GIB));
    assert_true(read_marks_has(node, 9 * GIB, GIB));
    assert_true(read_marks_has(node, 10 * GIB, GIB));
    assert_true(read_marks_has(node, 0, 6 * GIB));
    assert_false(read_marks_has(node, 0, 4 * GIB));
    assert_true(read_marks_has(node, 1024 * GIB, GIB)); /* of a disk that has become larger */
    node_unref(node);
}

/* v: top <- upper, of which the first MiB is data, and the second every other sector of it */
static struct node *upper_attach(struct block *block)
{
    shell(
        "qemu-img create -q -f qcow2 upper.img 4M && "
        "qemu-img create -q -f qcow2 -F qcow2 -b upper.img top.img && "
        "qemu-io -f qcow2 -c 'write -q 0 1M' upper.img && "
        "seq -f 'write -q %%.0f 512' 1048576 1024 1064960 | qemu-io -f qcow2 upper.img >/dev/null");
    disk_attach(block, "v", "top.img");
    CLEANUP(node) struct node *top = device_top(disk(block, "v"));
    return node_ref(top->backing);
}

static void disk_must_read(struct block *block, const char *name, uint64_t offset)
{
    char bytes[BYTES];
    assert_int_equal(device_read(disk(block, name), bytes, offset, sizeof(bytes)), 0);
}

TEST(reads_of_a_device_are_marked)
{
    CLEANUP(node) struct node *upper = upper_attach(*state);
    disk_must_read(*state, "v", 2 * MIB);
    assert_false(read_marks_has(upper, 0, 4 * MIB)); /* it has no data there */
    disk_must_read(*state, "v", 0);
    assert_true(read_marks_has(upper, 0, BYTES));
    assert_false(read_marks_has(upper, MIB, MIB));
    disk_must_read(*state, "v", MIB);
    assert_true(read_marks_has(upper, MIB, BYTES));
    disk_detach(*state, "v");
}

TEST(others_are_not)
{
    CLEANUP(node) struct node *upper = upper_attach(*state);
    disk_attach_read_only(*state, "backup", "upper.img");
    disk_must_read(*state, "backup", 0);
    disk_must_read(*state, "backup", MIB);
    disk_detach(*state, "backup");
    assert_false(read_marks_has(upper, 0, 4 * MIB));
    disk_detach(*state, "v");
}
