/* SPDX-License-Identifier: Apache-2.0
 *
 * A header field outside the specification's limits is rejected before it is used, and the message
 * names the field. Each row changes one number of a good version 3 image.
 */
#include "tests/lib/testlib.h"

#include <stdio.h>

static const struct row {
    unsigned offset, width;
    uint64_t value;
    const char *word;
} rows[] = {
    {0, 4, 0x514649fa, "qcow2"},
    {4, 4, 1, "version"},
    {4, 4, 4, "version"},
    {20, 4, 8, "cluster"},
    {20, 4, 22, "cluster"},
    {20, 4, UINT32_MAX, "cluster"},
    {24, 8, UINT64_MAX - 511, "disk"},
    {32, 4, 7, "encryption"},
    {36, 4, 0, "L1"},
    {36, 4, UINT32_MAX, "L1"},
    {40, 8, 0x30001, "L1"},
    {40, 8, 1ULL << 63, "L1"},
    {48, 8, 0x10200, "refcount table"},
    {48, 8, UINT64_MAX << 16, "refcount table"},
    {56, 4, 0, "refcount table"},
    {56, 4, UINT32_MAX, "refcount table"},
    {60, 4, UINT32_MAX, "snapshot"},
    {64, 8, 1, "snapshots_offset"},
    {64, 8, 0x10100, "snapshots_offset"},
    {64, 8, 1ULL << 63, "snapshots_offset"},
    {64, 8, UINT64_MAX << 16, "snapshots_offset"},
    {96, 4, 7, "refcount"},
    {96, 4, UINT32_MAX, "refcount"},
    {100, 4, 103, "header"},
    {100, 4, 96, "header"},
    {100, 4, UINT32_MAX - 7, "header"},
    {72, 8, 1 << 3, "compression"}, /* the bit without the field */
    {104, 1, 1, "compression"},     /* the field without the bit */
    {108, 4, UINT32_MAX, NULL},     /* padding: may be ignored */
};

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(bad_headers_are_refused)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (!rows[i].word)
            continue;
        printf("offset %u = %#llx\n", rows[i].offset, (unsigned long long)rows[i].value);
        shell("rm -f image && qemu-img create -q -f qcow2 image 1M");
        image_poke("image", rows[i].offset, rows[i].width, rows[i].value);
        chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS(rows[i].word));
        chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat, WORDS(rows[i].word));
    }
}

TEST(unknown_compression_is_refused)
{
    shell("rm -f image && qemu-img create -q -f qcow2 -o compression_type=zstd image 1M");
    image_poke("image", 104, 1, 2);
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("compression", "2"));
}

TEST(extended_l2_needs_clusters_of_16k)
{
    shell("rm -f image && qemu-img create -q -f qcow2 -o cluster_size=8k image 1M");
    image_poke("image", 72, 8, 1 << 4);
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("extended L2"));
}

TEST(long_backing_name_is_refused)
{
    shell("rm -f image && qemu-img create -q -f raw base 1M");
    shell("qemu-img create -q -f qcow2 -b base -F raw image");
    image_poke("image", 16, 4, 1024);
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("backing"));
    image_poke("image", 16, 4, 4);
    image_poke("image", 8, 8, 65535);
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("backing"));
}

/* A snapshot's L1 table past the end of the file, and so many that they could only be there to cost
 * memory. */
TEST(snapshots_that_cannot_be_are_refused)
{
    shell("rm -f image && qemu-img create -q -f qcow2 image 1M && qemu-img snapshot -c one image");
    uint64_t table = image_peek("image", 64, 8);
    image_poke("image", table, 8, 1ULL << 32);
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("snapshot", "L1"));
    chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat, WORDS("snapshot", "L1"));

    enum { SNAPSHOTS = 20, ENTRY_BYTES = 40, L1_BYTES = 32 << 20 };
    image_poke("image", 60, 4, SNAPSHOTS);
    image_poke("image", 64, 8, 1 << 30);
    for (uint64_t i = 0; i < SNAPSHOTS; i++) {
        image_poke("image", (1 << 30) + i * ENTRY_BYTES, 8, (2ULL << 30) + i * L1_BYTES);
        image_poke("image", (1 << 30) + i * ENTRY_BYTES + 8, 4, L1_BYTES / 8);
    }
    shell("truncate -s 8G image");
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("snapshot", "L1"));
}

TEST(short_files_are_refused)
{
    const unsigned lengths[] = {0, 3, 71, 103, 200};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        shell("rm -f image && qemu-img create -q -f qcow2 image 1M && truncate -s %u image",
              lengths[i]);
        chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, WORDS("image"));
    }
}
