/* SPDX-License-Identifier: Apache-2.0
 *
 * A raw file of 1,000,001 bytes is a disk of 1,000,448 (the next multiple of 512) whose last 447
 * bytes read as zeros; a write there makes the file longer. The same holds when it is the base of
 * an overlay.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <string.h>

enum { FILE_BYTES = 1000001, DISK_BYTES = 1000448 };

static struct flat *odd_file(void)
{
    struct random random = random_seeded(1);
    struct flat *file = flat_new(FILE_BYTES);
    random_fill(&random, file->bytes, FILE_BYTES);
    flat_save(file, "odd.raw");
    struct flat *disk = flat_copy(file, DISK_BYTES);
    flat_free(file);
    return disk;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(tail_reads_as_zeros)
{
    CLEANUP(flat) struct flat *disk = odd_file();
    struct node *node = chain_must_open("odd.raw", "raw", true);
    flat_must_match_node(disk, node, "raw");
    unsigned char byte = 1;
    assert_int_equal(node_read(node, &byte, FILE_BYTES, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(node_read(node, &byte, DISK_BYTES, 1), -EINVAL);
    assert_int_equal(node_write(node, &byte, 0, 1), -EROFS);
    node_unref(node);
    shell("test $(stat -c %%s odd.raw) = %d", FILE_BYTES);
}

TEST(write_to_the_tail_extends_the_file)
{
    CLEANUP(flat) struct flat *disk = odd_file();
    struct node *node = chain_must_open("odd.raw", "raw", false);
    memset(disk->bytes + FILE_BYTES + 100, 7, 50);
    assert_int_equal(node_write(node, disk->bytes + FILE_BYTES + 100, FILE_BYTES + 100, 50), 0);
    flat_must_match_node(disk, node, "raw");
    memset(disk->bytes + FILE_BYTES - 100, 0, 300);
    assert_int_equal(node_zero(node, FILE_BYTES - 100, 300, false), 0);
    flat_must_match_node(disk, node, "raw");
    node_must_close(&node);
    node = chain_must_open("odd.raw", "raw", true);
    flat_must_match_node(disk, node, "raw, opened again");
    node_unref(node);
    flat_must_match_image(disk, "odd.raw", "raw");
}

TEST(overlay_sees_the_tail_as_zeros)
{
    CLEANUP(flat) struct flat *disk = odd_file();
    shell("qemu-img create -q -f qcow2 -b odd.raw -F raw overlay.qcow2 2M");
    CLEANUP(flat) struct flat *longer = flat_copy(disk, 2 << 20);
    struct node *node = chain_must_open("overlay.qcow2", "qcow2", false);
    flat_must_match_node(longer, node, "overlay");
    longer->bytes[DISK_BYTES + 1000] = 9; /* copies the base's end into a cluster */
    assert_int_equal(node_write(node, longer->bytes + DISK_BYTES + 1000, DISK_BYTES + 1000, 1), 0);
    flat_must_match_node(longer, node, "overlay");
    node_must_close(&node);
    image_must_be_clean("overlay.qcow2");
    flat_must_match_image(longer, "overlay.qcow2", "qcow2");
    shell("test $(stat -c %%s odd.raw) = %d", FILE_BYTES);
}
