/* SPDX-License-Identifier: Apache-2.0
 *
 * An image with an unsupported feature is rejected, for reading and writing, and the message names
 * the feature: encryption, external data files, unknown feature bits, with the name in the image's
 * own feature name table.
 */
#include "tests/lib/testlib.h"

#include <string.h>

enum { INCOMPATIBLE_OFFSET = 72, FEATURE_NAMES_TYPE = 0x6803f857 };

static void must_refuse(const char *const *words)
{
    chain_must_refuse("image", "qcow2", true, ErrInvalidBlockFormat, words);
    chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat, words);
    shell("rm -f image data");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(external_data_file)
{
    shell("qemu-img create -q -f qcow2 -o data_file=data image 1M");
    must_refuse(WORDS("data file"));
    shell("qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on image 1M");
    must_refuse(WORDS("data file"));
}

TEST(encryption)
{
    const char *create = "qemu-img create -q --object secret,id=s,data=abc -f qcow2 -o "
                         "encrypt.key-secret=s,encrypt.format=";
    /* QEMU times its key derivation and gives up where the process gets too little time. */
    int tries = 0;
    while (shell_status("%sluks,encrypt.iter-time=10 image 1M", create) != 0)
        assert_true(++tries < 100);
    must_refuse(WORDS("LUKS"));
    shell("%saes image 1M", create);
    must_refuse(WORDS("AES"));
}

TEST(unknown_bit_without_a_name)
{
    uint32_t length;
    shell("qemu-img create -q -f qcow2 image 1M");
    uint64_t names = image_extension("image", FEATURE_NAMES_TYPE, &length);
    if (names) /* turn QEMU's table into an extension that nobody knows */
        image_poke("image", names - 8, 4, 0x736e6170);
    image_poke("image", INCOMPATIBLE_OFFSET, 8, 1ULL << 37);
    must_refuse(WORDS("37"));
}

TEST(unknown_bit_with_a_name)
{
    unsigned char entries[2 * 48] = {0, 36, 'n', 'o'};
    entries[48 + 1] = 37;
    memset(entries + 48 + 2, 'x', 46); /* full length: no NUL ends it */
    memcpy(entries + 48 + 2, "time travel", 11);
    uint32_t length;
    shell("qemu-img create -q -f qcow2 image 1M");
    uint64_t names = image_extension("image", FEATURE_NAMES_TYPE, &length);
    if (names)
        image_poke("image", names - 8, 4, 0x736e6170);
    image_extension_insert("image", FEATURE_NAMES_TYPE, entries, sizeof(entries));
    image_poke("image", INCOMPATIBLE_OFFSET, 8, 1ULL << 37);
    must_refuse(WORDS("time travelxxx"));
}

TEST(compatible_bits_are_ignored)
{
    shell("qemu-img create -q -f qcow2 image 1M");
    image_poke("image", 80, 8, UINT64_MAX);
    struct node *node = chain_must_open("image", "qcow2", false);
    node_must_close(&node);
    assert_true(image_peek("image", 80, 8) == UINT64_MAX);
    shell("rm image");
}
