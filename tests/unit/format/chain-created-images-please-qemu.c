/* SPDX-License-Identifier: Apache-2.0
 *
 * create() writes an empty version 3 image with the requested size, clusters and features, free of
 * errors, and 12 KiB of it are written. It carries the id of the group that made it; images of
 * other programs carry none.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static void must_be_as_asked(const struct image_spec *spec)
{
    uint32_t cluster_bytes = spec->cluster_bytes ? spec->cluster_bytes : 65536;
    struct node *node = overlay_must_create("image", spec, NULL);
    assert_true(node->size_bytes == spec->size_bytes);
    node_must_close(&node);
    image_must_be_clean("image");
    shell("qemu-img info --output=json image >info");
    shell("jq -e '.\"virtual-size\" == %" PRIu64 " and .\"cluster-size\" == %u and "
          ".\"format-specific\".data.compat == \"1.1\" and "
          ".\"format-specific\".data.\"extended-l2\" == %s' info",
          spec->size_bytes, cluster_bytes, spec->extended_l2 ? "true" : "false");
    shell("qemu-img map -f qcow2 --output=json image | jq -e 'all(.[]; .data | not)'");
    assert_in_range(image_peek("image", 20, 4), 9, 21);
    shell("rm image");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(sizes_and_clusters)
{
    for (unsigned bits = 9; bits <= 21; bits++)
        for (unsigned extended = 0; extended <= (bits >= 14); extended++)
            must_be_as_asked(&(struct image_spec){
                .size_bytes = 1000448, .cluster_bytes = 1U << bits, .extended_l2 = extended});
    const uint64_t sizes[] = {512, 65536, 1ULL << 40, DEVICE_SIZE_MAX_BYTES / 64};
    for (unsigned i = 0; i < 4; i++)
        must_be_as_asked(&(struct image_spec){.size_bytes = sizes[i]});
}

/* The header, a refcount table and a refcount block, with the start of each; QEMU's has more. */
TEST(little_is_written)
{
    struct image_spec spec = {.size_bytes = 1ULL << 40, .extended_l2 = true};
    struct node *node = overlay_must_create("small", &spec, NULL);
    assert_in_range(node_allocated_bytes(node, true), 0, 12 << 10);
    node_must_close(&node);
    assert_int_equal(shell_status("test $(stat -c %%s small) -ge 262144"), 0);
    image_must_be_clean("small");
    shell("qemu-img create -q -f qcow2 -o extended_l2=on theirs 1T");
    shell("qemu-img compare -q small theirs");
}

static int group_of(const char *name, unsigned char id[OWNER_ID_BYTES])
{
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return driver_qcow2.group_id(fd, id);
}

TEST(group_is_recorded)
{
    const unsigned char id[OWNER_ID_BYTES] = "\x00\xff groupmember";
    unsigned char found[OWNER_ID_BYTES] = {0};
    struct image_spec spec = {.size_bytes = 1 << 20, .group_id = id};
    shell("truncate -s 1M base");
    spec.backing_file = "base";
    spec.backing_format = "raw";
    struct node *node = overlay_must_create("overlay", &spec, NULL);
    assert_int_equal(node_write(node, "x", 5000, 1), 0);
    node_must_close(&node);
    image_must_be_clean("overlay");
    assert_int_equal(group_of("overlay", found), 0);
    assert_memory_equal(found, id, OWNER_ID_BYTES);
    shell("qemu-img rebase -u -f qcow2 -b ./base -F raw overlay"); /* QEMU rewrites the header */
    assert_int_equal(group_of("overlay", found), 0);
    shell("qemu-img create -q -f qcow2 other 1M && truncate -s 4k zeros && touch empty");
    assert_int_equal(group_of("other", found), -ENOENT);
    assert_int_not_equal(group_of("zeros", found), 0);
    assert_int_not_equal(group_of("empty", found), 0);
}

TEST(backing_names_have_a_limit)
{
    struct err err;
    char name[1025];
    memset(name, 'n', sizeof(name));
    name[1024] = '\0';
    struct image_spec spec = {.size_bytes = 1 << 20, .backing_file = name, .backing_format = "raw"};
    CLEANUP_FREE char *path = scratch_path("long");
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(driver_qcow2.create(fd, &spec, &err), -1);
    name[1023] = '\0';
    struct node *node = overlay_must_create("longest", &spec, NULL);
    assert_string_equal(node->backing_file, name);
    node_must_close(&node);
    shell("qemu-img info longest | grep -q 'backing file: %s'", name);
}
