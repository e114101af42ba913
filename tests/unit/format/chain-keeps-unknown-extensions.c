/* SPDX-License-Identifier: Apache-2.0
 *
 * Header extensions that the driver does not know stay in place, to the byte, when it rewrites what
 * it does know: the autoclear bits and the dirty bit of an overlay with a backing name behind its
 * extensions.
 */
#include "tests/lib/testlib.h"

#include <string.h>

enum { EXTENSION_TYPE = 0x736f6d65, FEATURE_NAMES_TYPE = 0x6803f857, FORMAT_TYPE = 0xe2792aca };

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(unknown_extensions_stay)
{
    const char data[] = "somebody else's 29 bytes long";
    uint32_t length;
    shell("qemu-img create -q -f raw base 1M && qemu-io -f raw -c 'write -P 5 0 1M' base");
    shell("qemu-img create -q -f qcow2 -b base -F raw image");
    image_extension_insert("image", EXTENSION_TYPE, data, sizeof(data));
    image_poke("image", 88, 8, 1ULL << 40);
    image_poke("image", 72, 8, 1);
    CLEANUP_FREE char *before = shell_output("qemu-img info image | grep -v 'disk size'");

    struct node *node = chain_must_open("image", "qcow2", false);
    assert_int_equal(node_write(node, data, 70000, sizeof(data)), 0);
    node_must_close(&node);

    assert_int_equal(image_peek("image", 72, 8), 0);
    assert_int_equal(image_peek("image", 88, 8), 0);
    uint64_t at = image_extension("image", EXTENSION_TYPE, &length);
    assert_true(at != 0);
    assert_int_equal(length, sizeof(data));
    for (unsigned i = 0; i < sizeof(data); i++)
        assert_int_equal(image_peek("image", at + i, 1), (unsigned char)data[i]);
    assert_true(image_extension("image", FEATURE_NAMES_TYPE, &length) != 0);
    assert_true(image_extension("image", FORMAT_TYPE, &length) != 0);
    assert_int_equal(length, strlen("raw"));
    assert_true(strstr(before, "backing file: base") != NULL);
    shell("qemu-img info image | grep -q 'backing file: base'");
    shell("qemu-img check image");
    shell("qemu-io -c 'read -P 5 0 68k' image");
}
