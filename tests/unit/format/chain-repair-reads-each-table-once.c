/* SPDX-License-Identifier: Apache-2.0
 *
 * The time of a repair depends on the file's size, not on the number of references: an internal
 * snapshot whose L1 table references one L2 table millions of times costs one read of it. The
 * counts equal QEMU's. A repair that nobody wants any more ends.
 *
 *     cluster (64 KiB)   0 header | 1 refcount table | 2 refcount block | 3 L1 table | 4 L2 table
 *                        5 data | 6 snapshot table | 7 ... the snapshot's L1 table, each entry of
 *                        which names cluster 4
 */
#include "tests/lib/testlib.h"

#include <endian.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { CLUSTER = 65536, L1_ENTRIES_MAX = (32 << 20) / 8, INCOMPATIBLE = 72, DIRTY = 1 };

/* A dirty image; `references`: how often the snapshot names the table. */
static void image_make(uint64_t references)
{
    shell("rm -f image && qemu-img create -q -f qcow2 -o refcount_bits=64 image 64M");
    shell("qemu-io -f qcow2 -c 'write -P 1 64k 64k' image");
    uint64_t *l1 = calloc(references, sizeof(*l1));
    for (uint64_t i = 0; i < references; i++)
        l1[i] = htobe64(4 * CLUSTER);
    CLEANUP_FREE char *path = scratch_path("image");
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(file_write(fd, l1, 7 * CLUSTER, references * sizeof(*l1)), 0);
    free(l1);
    assert_int_equal(
        ftruncate(fd, (off_t)((references * sizeof(*l1) / CLUSTER + 8) * (uint64_t)CLUSTER)), 0);
    image_poke("image", 6 * CLUSTER, 8, 7 * CLUSTER);
    image_poke("image", 6 * CLUSTER + 8, 4, references);
    image_poke("image", 6 * CLUSTER + 12, 2, 1);
    image_poke("image", 6 * CLUSTER + 14, 2, 1);
    image_poke("image", 6 * CLUSTER + 36, 4, 16); /* version 3: two more numbers */
    image_poke("image", 6 * CLUSTER + 48, 8, 64 << 20);
    image_poke("image", 6 * CLUSTER + 56, 2, '1' << 8 | 's');
    image_poke("image", 60, 4, 1);
    image_poke("image", 64, 8, 6 * CLUSTER);
    image_poke("image", INCOMPATIBLE, 8, DIRTY);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(counts_are_those_of_qemu)
{
    image_make(1000);
    struct node *node = chain_must_open("image", "qcow2", false);
    node_must_close(&node);
    image_must_be_clean("image");
    CLEANUP_FREE char *seen = shell_output("qemu-io -r -f qcow2 -c 'read -P 1 64k 64k' image");
    assert_null(strstr(seen, "failed"));
}

/* Walking the table for each of its references would be 2^35 entries. */
TEST(tables_are_read_once)
{
    image_make(L1_ENTRIES_MAX);
    alarm(60);
    struct node *node = chain_must_open("image", "qcow2", false);
    alarm(0);
    node_must_close(&node);
    assert_int_equal(image_peek("image", 2 * CLUSTER + 4 * 8, 8), L1_ENTRIES_MAX + 1);
    assert_int_equal(image_peek("image", 2 * CLUSTER + 5 * 8, 8), L1_ENTRIES_MAX + 1);
}

static int admit_all(void *arg, const struct chain_file *file, struct file_claim **claim,
                     struct node **node, struct err *err)
{
    (void)arg, (void)file, (void)claim, (void)node, (void)err;
    return 0;
}

TEST(a_repair_that_nobody_wants_ends)
{
    struct err err;
    atomic_bool is_unwanted = true;
    image_make(1000);
    const struct chain_guard guard = {.is_unwanted = &is_unwanted, .admit = admit_all};
    assert_null(chain_open(scratch_images(), "image", "qcow2", false, &guard, &err));
    assert_int_equal(err.code, ErrNotReady);
    CLEANUP_FREE char *path = scratch_path("image");
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_null(node_open_wanted(fd, path, &driver_qcow2, false, NULL, &is_unwanted, &err));
    assert_int_equal(err.code, ErrNotReady);
    assert_int_equal(image_peek("image", INCOMPATIBLE, 8), DIRTY);
    is_unwanted = false;
    struct node *node = node_open_wanted(fd, path, &driver_qcow2, false, NULL, &is_unwanted, &err);
    assert_non_null(node);
    fd = -1;
    node_must_close(&node);
    image_must_be_clean("image");
}
