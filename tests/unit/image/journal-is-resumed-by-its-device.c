/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start brings up to date in memory is the node that the device gets: under the path that
 * the file really has, whatever symbolic link leads there now; a second name of the file gets what
 * the journal had too; and a daemon that is killed again and again without a flush does not make
 * the file grow.
 */
#include "block/device/registry.h"
#include "tests/lib/killable.h"

#include <string.h>
#include <sys/stat.h>

enum { CLUSTER_BYTES = 512, BLOCKS = 400, KILLS = 10 };

/* Enough clusters for a second refcount block. */
static int writer(void *arg)
{
    unsigned char buf[CLUSTER_BYTES];
    struct node *node = journaled_open(arg);
    memset(buf, 7, sizeof(buf));
    for (uint64_t i = 0; node && i < BLOCKS; i++)
        if (node_write(node, buf, i * sizeof(buf), sizeof(buf)) != 0)
            return 3;
    die();
    return 0;
}

static int start_only(void *arg)
{
    struct block *block = journals_must_open();
    const struct device_spec spec = {.name = "vda", .image = arg, .format = "qcow2"};
    if (block_device_open(block, &spec, &(struct err){0}) != 0)
        return 3;
    die();
    return 0;
}

static int begin(void **state)
{
    scratch_begin(state);
    shell("mkdir run one && qemu-img create -q -f qcow2 -o cluster_size=%d one/top.qcow2 1M",
          CLUSTER_BYTES);
    assert_int_equal(block_close(journals_must_open(), &(struct err){0}), 0);
    assert_true(killed_child(writer, "one/top.qcow2", 0, false));
    return 0;
}

/* The device's top is at that path and holds what was written. */
static void must_open_as(const char *image, const char *path)
{
    struct err err;
    unsigned char buf[CLUSTER_BYTES];
    struct block *block = journals_must_open();
    const struct device_spec spec = {.name = "vda", .image = image, .format = "qcow2"};
    if (block_device_open(block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    CLEANUP(node) struct node *top = device_top(registry_find_locked(block, "vda"));
    CLEANUP_FREE char *wanted = scratch_path(path);
    assert_string_equal(top->path, wanted);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        assert_int_equal(node_read(top, buf, i * sizeof(buf), sizeof(buf)), 0);
        assert_int_equal(buf[0], 7);
    }
    node_unref(steal(top));
    assert_int_equal(block_close(block, &err), 0);
    image_must_be_clean(image);
}

static const struct fixture fixture = {.begin = begin, .end = scratch_end};

TEST(through_a_link_that_came_since)
{
    shell("mv one two && ln -s two one");
    must_open_as("one/top.qcow2", "two/top.qcow2");
}

TEST(by_another_name)
{
    shell("ln one/top.qcow2 other.qcow2");
    must_open_as("other.qcow2", "other.qcow2");
}

TEST(a_loop_of_kills_grows_nothing)
{
    CLEANUP_FREE char *path = scratch_path("one/top.qcow2");
    struct stat first, last;
    assert_true(killed_child(start_only, "one/top.qcow2", 0, false));
    assert_int_equal(stat(path, &first), 0);
    for (int i = 0; i < KILLS; i++)
        assert_true(killed_child(start_only, "one/top.qcow2", 0, false));
    assert_int_equal(stat(path, &last), 0);
    assert_true(last.st_size <= first.st_size + KILLS * 4 * CLUSTER_BYTES);
    must_open_as("one/top.qcow2", "one/top.qcow2");
}
