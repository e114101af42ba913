/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing outside the image directory is opened, whatever a path or a header says: absolute paths,
 * "..", symbolic links in any component, device files, directories, protocols.
 */
#include "tests/lib/testlib.h"

#include "block/image/image.h"

static struct image_dir inside;

static void inside_must_refuse(const char *path)
{
    struct err err;
    CLEANUP(node) struct node *node = chain_open(&inside, path, "qcow2", true, NULL, &err);
    if (node)
        fail_msg("'%s' opens", path);
    if (err.code != ErrOpenFileFailed)
        fail_msg("'%s' is refused with %s: %s", path, err_code_name(err.code), err.message);
}

static void backing_must_be_refused(const char *backing)
{
    shell("qemu-img create -q -f qcow2 -u -b '%s' -F qcow2 inside/overlay 1M", backing);
    inside_must_refuse("overlay");
    shell("rm inside/overlay");
}

static int directories_begin(void **state)
{
    struct err err;
    if (scratch_begin(state) != 0)
        return -1;
    shell("mkdir inside inside/sub inside-too");
    shell("qemu-img create -q -f qcow2 outside.qcow2 1M && cp outside.qcow2 inside-too/x.qcow2");
    shell("cp outside.qcow2 inside/good.qcow2 && ln -s good.qcow2 inside/alias.qcow2");
    shell(
        "ln -s ../outside.qcow2 inside/link.qcow2 && ln -s .. inside/up && ln -s loop inside/loop");
    shell("ln -s %s/outside.qcow2 inside/absolute.qcow2", scratch_dir());
    shell("mkfifo inside/fifo");
    CLEANUP_FREE char *path = scratch_path("inside");
    return image_dir_open(&inside, path, &err);
}

static int directories_end(void **state)
{
    image_dir_close(&inside);
    return scratch_end(state);
}

static const struct fixture fixture = {.begin_all = directories_begin, .end_all = directories_end};

TEST(paths_inside_open)
{
    const char *paths[] = {"good.qcow2", "./sub/../good.qcow2", "alias.qcow2"};
    for (unsigned i = 0; i < 3; i++) {
        struct err err;
        struct node *node = chain_open(&inside, paths[i], "qcow2", false, NULL, &err);
        if (!node)
            fail_msg("'%s' is refused: %s", paths[i], err.message);
        node_unref(node);
    }
}

TEST(paths_outside_are_refused)
{
    const char *paths[] = {"../outside.qcow2",
                           "sub/../../outside.qcow2",
                           "link.qcow2",
                           "absolute.qcow2",
                           "up/outside.qcow2",
                           "loop",
                           "/etc/passwd",
                           "../inside-too/x.qcow2",
                           "nothing.qcow2",
                           "fifo",
                           "sub",
                           "",
                           "."};
    CLEANUP_FREE char *sibling = scratch_path("inside-too/x.qcow2");
    CLEANUP_FREE char *outside = scratch_path("outside.qcow2");
    for (unsigned i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        inside_must_refuse(paths[i]);
    inside_must_refuse(sibling);
    inside_must_refuse(outside);
}

TEST(backing_names_outside_are_refused)
{
    const char *names[] = {"../outside.qcow2",
                           "link.qcow2",
                           "absolute.qcow2",
                           "up/outside.qcow2",
                           "/dev/zero",
                           "nbd:localhost:10809",
                           "json:{\"file.filename\":\"../outside.qcow2\"}",
                           "json:{\"file\":{\"filename\":\"link.qcow2\"}}",
                           "file:../outside.qcow2",
                           "../inside-too/x.qcow2"};
    CLEANUP_FREE char *sibling = scratch_path("inside-too/x.qcow2");
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        backing_must_be_refused(names[i]);
    backing_must_be_refused(sibling);
}
