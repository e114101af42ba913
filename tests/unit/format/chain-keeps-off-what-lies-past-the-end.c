/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables and clusters past the end of the file read as zeros, as in QEMU, and are never written: an
 * image that needs writes there is not opened for writing, or the write fails. A table may be cut
 * short by the end of the file.
 *
 *     cluster (64 KiB)   0 header | 1 refcount table | 2 refcount block | 3 L1 table | 4 L2 table
 *                        5 data
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CLUSTER = 65536, SIZE = 64 << 20 };

#define COPIED (1ULL << 63)

static void image_make(void)
{
    shell("rm -f image && qemu-img create -q -f qcow2 image 64M");
    shell("qemu-io -f qcow2 -c 'write -P 1 0 64k' image");
}

/* What QEMU reads is what we read. */
static void must_read_like_qemu(void)
{
    struct flat *truth = image_truth("image", "qcow2");
    struct node *node = chain_must_open("image", "qcow2", true);
    flat_must_match_node(truth, node, "what QEMU reads");
    node_unref(node);
    flat_free(truth);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(entries_past_the_end_are_not_opened_for_writing)
{
    static const struct {
        uint64_t place, value;
        const char *words[2];
    } rows[] = {
        {3 * CLUSTER, 6 * CLUSTER | COPIED, {"L1 entry 0", "past the end"}},
        {3 * CLUSTER, 1ULL << 30, {"L1 entry 0", "past the end"}},
        {3 * CLUSTER, 0xf0000001000000 | COPIED, {"L1 entry 0", "past the end"}},
        {1 * CLUSTER, 1ULL << 30, {"refcount block", "past the end"}},
        {1 * CLUSTER + 8, 0xf0000001000000, {"refcount table entry 1", "past the end"}},
        {40, 1ULL << 30, {"L1 table", "past the end"}},
        {48, 1ULL << 30, {"refcount table", "past the end"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        printf("%#llx = %#llx\n", (unsigned long long)rows[i].place,
               (unsigned long long)rows[i].value);
        image_make();
        image_poke("image", rows[i].place, 8, rows[i].value);
        must_read_like_qemu();
        chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat,
                          WORDS(rows[i].words[0], rows[i].words[1]));
    }
}

/* The change fails; nothing that was acknowledged before is lost. */
TEST(data_past_the_end_are_not_changed)
{
    static const uint64_t entries[] = {1ULL << 30 | COPIED, 1ULL << 30, 0xf0000001000000 | COPIED,
                                       1ULL << 62 | 1ULL << 40};
    unsigned char buf[4096] = {7};
    for (int change = 0; change < 4; change++)
        for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++) {
            image_make();
            image_poke("image", 4 * CLUSTER, 8, entries[i]);
            if (i < 3)
                must_read_like_qemu();
            struct node *node = chain_must_open("image", "qcow2", false);
            assert_int_equal(node_write(node, buf, 10 * CLUSTER, sizeof(buf)), 0);
            int ret = change == 0   ? node_write(node, buf, 0, sizeof(buf))
                      : change == 1 ? node_write_cached(node, buf, 0, sizeof(buf))
                      : change == 2 ? node_zero(node, 0, CLUSTER, true)
                                    : node_discard(node, 0, CLUSTER);
            assert_int_equal(ret, -EIO);
            assert_int_equal(node_flush(node), 0);
            node_must_close(&node);
            struct node *again = chain_must_open("image", "qcow2", true);
            assert_int_equal(node_read(again, buf, 10 * CLUSTER, sizeof(buf)), 0);
            assert_int_equal(buf[0], 7);
            node_unref(again);
        }
}

/* Written by us, read and checked by QEMU. */
static void must_write_like_qemu(uint64_t offset)
{
    unsigned char buf[4096];
    memset(buf, 9, sizeof(buf));
    struct node *node = chain_must_open("image", "qcow2", false);
    assert_int_equal(node_write(node, buf, offset, sizeof(buf)), 0);
    node_must_close(&node);
    shell("! qemu-io -f qcow2 -c 'read -P 9 %llu 4k' image | grep failed",
          (unsigned long long)offset);
    image_must_be_clean("image");
}

TEST(an_l1_table_may_be_cut)
{
    const uint64_t far = 15ULL << 40;
    shell("rm -f image && qemu-img create -q -f qcow2 image 16T && truncate -s $((0x30100)) image");
    struct node *node = chain_must_open("image", "qcow2", true);
    unsigned char buf[4096];
    assert_int_equal(node_read(node, buf, far, sizeof(buf)), 0);
    assert_true(bytes_are_zero(buf, sizeof(buf)));
    node_unref(node);
    must_write_like_qemu(1 << 20);
    must_write_like_qemu(far);
}

/* The table moves to the file's end, where only its first entry fits. */
TEST(a_refcount_table_may_be_cut)
{
    image_make();
    uint64_t block = image_peek("image", 1 * CLUSTER, 8), end = 6 * CLUSTER;
    image_poke("image", end, 8, block);
    image_poke("image", block + 2 * 6, 2, 1);
    image_poke("image", block + 2 * 1, 2, 0);
    image_poke("image", 48, 8, end);
    image_must_be_clean("image");
    must_read_like_qemu();
    must_write_like_qemu(1 << 20);
    must_read_like_qemu();
}
