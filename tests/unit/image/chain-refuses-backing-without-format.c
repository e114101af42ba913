/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats are never probed: a backing file whose format the header does not record, or records as
 * one that does not exist here, is refused with a message that says so. A guest could otherwise
 * write a qcow2 header into a raw base and name any file of the host.
 */
#include "tests/lib/testlib.h"

enum { FORMAT_TYPE = 0xe2792aca };

static void overlay_create(void)
{
    shell("rm -f overlay && qemu-img create -q -f qcow2 base 1M");
    shell("qemu-img create -q -f qcow2 -b base -F qcow2 overlay");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(unrecorded_format_is_refused)
{
    uint32_t length;
    overlay_create();
    uint64_t at = image_extension("overlay", FORMAT_TYPE, &length);
    image_poke("overlay", at - 8, 4, 0x736f6d65);
    chain_must_refuse("overlay", "qcow2", true, ErrInvalidBlockFormat,
                      WORDS("overlay", "base", "format"));
}

TEST(unknown_format_is_refused)
{
    uint32_t length;
    overlay_create();
    uint64_t at = image_extension("overlay", FORMAT_TYPE, &length);
    image_poke("overlay", at, 5, 0x71636f7733); /* "qcow3" */
    chain_must_refuse("overlay", "qcow2", true, ErrInvalidBlockFormat, WORDS("base", "qcow3"));
    chain_must_refuse("overlay", "vmdk", true, ErrInvalidBlockFormat, WORDS("vmdk"));
}

TEST(recorded_format_is_believed)
{
    uint32_t length;
    unsigned char magic[4] = {0};
    overlay_create();
    uint64_t at = image_extension("overlay", FORMAT_TYPE, &length);
    image_poke("overlay", at - 4, 4, 3);
    image_poke("overlay", at, 3, 0x726177); /* "raw" */
    struct node *node = chain_must_open("overlay", "qcow2", true);
    assert_int_equal(node_read(node, magic, 0, 4), 0);
    assert_memory_equal(magic, "QFI\xfb", 4); /* the base's bytes, not its disk */
    node_unref(node);
}

TEST(raw_is_not_taken_for_qcow2)
{
    shell("truncate -s 1M zeros");
    chain_must_refuse("zeros", "qcow2", true, ErrInvalidBlockFormat, WORDS("zeros"));
}
