/* SPDX-License-Identifier: Apache-2.0
 *
 * An image leaves all chains while others are opened, which take as long as they do: nobody waits,
 * and none of them ends up on the image. Nor does a clone whose base is in no device's chain.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include "block/clone.h"
#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/device/redirect.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

/* lower <- upper <- a, b, c: both give 2 in block 4. */
static void images_create(void)
{
    shell("rm -f lower.qcow2 upper.qcow2 ?.qcow2");
    shell("qemu-img create -q -f qcow2 lower.qcow2 %d", DISK_BYTES);
    shell("qemu-io -f qcow2 -c 'write -q -P 2 16k 16k' lower.qcow2");
    shell("qemu-img create -q -f qcow2 -b lower.qcow2 -F qcow2 upper.qcow2");
    for (const char *name = "abc"; *name; name++)
        shell("qemu-img create -q -f qcow2 -b upper.qcow2 -F qcow2 %c.qcow2", *name);
}

/* As a merge does, which finds nobody who writes the image. */
static void header_rename(const char *image)
{
    shell("printf lower | dd of=%s conv=notrunc status=none bs=1 "
          "seek=$(grep -abo upper.qcow2 %s | head -n 1 | cut -d : -f 1)",
          image, image);
}

static struct node *chain_find(struct device *device, const char *name)
{
    struct node *node = device->newest;
    while (node && strcmp(strrchr(node->path, '/') + 1, name) != 0)
        node = node->backing;
    return node;
}

/* Of device `a`, and of all others. */
static void redirect(struct block *block)
{
    struct err err = {.message = ""};
    struct node *lower = chain_find(disk(block, "a"), "lower.qcow2");
    struct node *upper = chain_find(disk(block, "a"), "upper.qcow2");
    assert_non_null(upper);
    assert_int_equal(0, exports_move(block, upper, lower, &err));
    int ret = redirect_chains(block, upper, lower, NULL, &err);
    if (ret)
        fail_msg("%d: %s", ret, err.message);
}

struct attaching {
    struct block *block;
    const char *name, *image;
    pthread_t thread;
};

static void *attach(void *arg)
{
    const struct attaching *attaching = arg;
    disk_attach(attaching->block, attaching->name, attaching->image);
    return NULL;
}

/* It hangs once the header of `image` was read. */
static void attach_begin(struct attaching *attaching)
{
    faulty_hold_opens(attaching->image);
    assert_int_equal(0, pthread_create(&attaching->thread, NULL, attach, attaching));
    faulty_wait_held(1);
}

static void attach_end(struct attaching *attaching)
{
    faulty_let_opens_go();
    pthread_join(attaching->thread, NULL);
}

TEST(test_an_opening_of_other_images)
{
    struct block *block = *state;
    struct attaching other = {block, "o", "other.qcow2", 0};
    images_create();
    shell("qemu-img create -q -f qcow2 other.qcow2 %d", DISK_BYTES);
    disk_attach(block, "a", "a.qcow2");
    attach_begin(&other);
    redirect(block);
    assert_int_equal(0, descriptors_of("upper.qcow2"));
    attach_end(&other);
    assert_int_equal(2, disk_read(block, "a", 4));
    assert_int_equal(0, disk_read(block, "o", 4));
}

/* "a" is redirected while the other one is being opened. */
static void redirect_beside(struct block *block, struct attaching *late)
{
    images_create();
    disk_attach(block, "a", "a.qcow2");
    attach_begin(late);
    header_rename("a.qcow2");
    header_rename("b.qcow2");
    redirect(block);
}

/* It has read the old name, and is opened again; one that is opened later shares what it has. */
TEST(test_an_opening_that_has_found_the_image)
{
    struct block *block = *state;
    struct attaching late = {block, "b", "b.qcow2", 0};
    redirect_beside(block, &late);
    attach_end(&late);
    assert_null(chain_find(disk(block, "b"), "upper.qcow2"));
    assert_ptr_equal(chain_find(disk(block, "a"), "lower.qcow2"),
                     disk(block, "b")->newest->backing);
    assert_int_equal(0, descriptors_of("upper.qcow2"));
    assert_int_equal(2, disk_read(block, "b", 4));
    disk_write(block, "b", 4, 5);
    assert_int_equal(5, disk_read(block, "b", 4));
}

/* The file is gone when the opening gets to it: it is opened again, too. */
TEST(test_an_opening_that_finds_no_file)
{
    struct block *block = *state;
    struct attaching late = {block, "b", "b.qcow2", 0};
    redirect_beside(block, &late);
    shell("rm upper.qcow2");
    attach_end(&late);
    assert_int_equal(2, disk_read(block, "b", 4));
}

/* What is frozen above the image, and only a clone has open. */
TEST(test_a_clone)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    static const char *const NAMES[] = {"b"};
    images_create();
    disk_attach(block, "a", "a.qcow2");
    disk_attach(block, "b", "b.qcow2");
    group_take(block, "g.qcow2", 1, NAMES);
    disk_detach(block, "b");
    const struct clone_base base = {.image = "b.qcow2", .format = "qcow2", .export = "b@g"};
    CLEANUP(clone) struct clone *clone = clone_begin(block, &base, &err);
    if (!clone)
        fail_msg("%s", err.message);
    header_rename("a.qcow2");
    header_rename("b.qcow2");
    redirect(block);
    assert_int_equal(0, descriptors_of("upper.qcow2"));
    disk_attach_read_only(block, "b", "b.qcow2"); /* shares the image that the clone has */
    assert_null(chain_find(disk(block, "b"), "upper.qcow2"));
    assert_int_equal(2, disk_read(block, "b", 4));
}
