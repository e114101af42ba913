/* SPDX-License-Identifier: Apache-2.0
 *
 * A backing file's name counts from the directory of the image that names it, whatever the working
 * directory: relative, with "..", absolute, and with characters that QEMU would take for a
 * protocol.
 */
#include "tests/lib/testlib.h"

#include <unistd.h>

/* The overlay "o/overlay" names the base as `backing`; the base holds 0x42. */
static void must_resolve(const char *backing)
{
    shell("mkdir -p o && qemu-img create -q -f qcow2 -u -b '%s' -F raw o/overlay 1M", backing);
    assert_int_equal(chdir("/"), 0);
    struct node *node = chain_must_open("o/overlay", "qcow2", false);
    assert_int_equal(chdir(scratch_dir()), 0);
    unsigned char byte = 0;
    assert_int_equal(node_read(node, &byte, 12345, 1), 0);
    assert_int_equal(byte, 0x42);
    assert_true(node->path[0] == '/' && node->backing->path[0] == '/');
    node_unref(node);
    CLEANUP_FREE char *absolute = scratch_path("o/overlay");
    node = chain_must_open(absolute, "qcow2", true);
    node_unref(node);
    shell("rm o/overlay");
}

static void base_create(const char *name)
{
    shell("mkdir -p \"$(dirname '%s')\" && truncate -s 1M '%s'", name, name);
    shell("cd \"$(dirname '%s')\" && qemu-io -f raw -c 'write -P 0x42 0 1M' ./\"$(basename '%s')\"",
          name, name);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(names_resolve)
{
    base_create("base");
    base_create("o/beside");
    base_create("o/deep/er");
    base_create("o/a:b");
    must_resolve("../base");
    must_resolve("beside");
    must_resolve("./beside");
    must_resolve("deep/er");
    must_resolve("deep/../../base");
    must_resolve("./a:b");
    CLEANUP_FREE char *absolute = scratch_path("base");
    must_resolve(absolute);
}

TEST(created_names_are_kept)
{
    const char *names[] = {"base", "./base", "o/../base"};
    for (unsigned i = 0; i < 3; i++) {
        struct image_spec spec = {.size_bytes = 1 << 20, .backing_file = names[i]};
        spec.backing_format = "raw";
        struct node *node = overlay_must_create("overlay", &spec, NULL);
        assert_string_equal(node->backing_file, names[i]);
        assert_string_equal(node->backing_format, "raw");
        node_must_close(&node);
        shell("qemu-img info overlay | grep -q 'backing file: %s'", names[i]);
        shell("qemu-img info overlay | grep -q 'backing file format: raw'");
        shell("qemu-io -f qcow2 -r -c 'read -P 0x42 0 1M' overlay && rm overlay");
    }
}
