/* SPDX-License-Identifier: Apache-2.0
 *
 * What a group froze, and all that lies beneath it, is never attached for writing again: not under
 * another name, not after its device was detached, not after a restart. Reading it and writing to
 * an overlay of it go on, and so does a new file that has got the old name.
 */
#include "block/frozen.h"
#include "tests/lib/disks.h"

#include <string.h>

static const char *const NAMES[] = {"d0"};

static int attach(struct block *block, const char *image, bool read_only, struct err *err)
{
    struct device_spec spec = {
        .name = "other", .image = image, .format = "qcow2", .read_only = read_only};
    int ret = block_device_open(block, &spec, err);
    if (ret == 0)
        assert_int_equal(0, block_device_close(block, "other", err));
    return ret;
}

static void must_be_frozen(struct block *block, const char *image)
{
    struct err err = {.message = ""};
    assert_int_equal(-1, attach(block, image, false, &err));
    assert_int_equal(ErrImageInUse, err.code);
    assert_non_null(strstr(err.message, "frozen by a snapshot group"));
    assert_int_equal(0, attach(block, image, true, &err));
}

static void must_be_writable(struct block *block, const char *image)
{
    struct err err = {.message = ""};
    if (attach(block, image, false, &err) != 0)
        fail_msg("%s: %s", image, err.message);
}

/* d0.qcow2 <- d0.g1 <- d0.g2, the top; d0 is detached. */
static void freeze_twice(struct block *block)
{
    struct err err;
    group_take(block, "g1", 1, NAMES);
    group_take(block, "g2", 1, NAMES);
    assert_int_equal(0, block_device_close(block, "d0", &err));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_other_names)
{
    struct block *block = *state;
    freeze_twice(block);
    shell("ln d0.qcow2 hard.qcow2; ln -s d0.qcow2 soft.qcow2; mkdir sub; ln d0.g1 sub/hard");
    must_be_frozen(block, "d0.qcow2");
    must_be_frozen(block, "hard.qcow2");
    must_be_frozen(block, "soft.qcow2");
    must_be_frozen(block, "d0.g1");
    must_be_writable(block, "d0.g2");
    shell("mv d0.qcow2 moved.qcow2 && ln -s moved.qcow2 d0.qcow2");
    must_be_frozen(block, "moved.qcow2");
    must_be_writable(block, "d0.g2");
}

TEST(test_what_is_not_frozen)
{
    struct block *block = *state;
    freeze_twice(block);
    shell("cp d0.qcow2 copy.qcow2; qemu-img create -q -f qcow2 -b d0.qcow2 -F qcow2 mine.qcow2");
    must_be_writable(block, "copy.qcow2");
    must_be_writable(block, "mine.qcow2");
    shell("mv d0.qcow2 away.qcow2; cp away.qcow2 d0.qcow2");
    must_be_writable(block, "d0.qcow2");
    must_be_frozen(block, "away.qcow2");
}

TEST(test_backing_files_of_what_was_attached)
{
    struct block *block = *state;
    struct err err;
    shell("qemu-img create -q -f qcow2 base.qcow2 1M;"
          "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2");
    struct device_spec spec = {.name = "v", .image = "top.qcow2", .format = "qcow2"};
    assert_int_equal(0, block_device_open(block, &spec, &err));
    block_device_export(block, "v");
    group_take(block, "g", 1, (const char *[]){"v"});
    assert_int_equal(0, block_device_close(block, "v", &err));
    must_be_frozen(block, "top.qcow2");
    must_be_frozen(block, "base.qcow2");
}

/* A group that came to nothing froze nothing. */
TEST(test_aborted_group)
{
    struct block *block = *state;
    struct err err;
    struct group *group = group_must_prepare(block, "g", 1, NAMES);
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    assert_int_equal(0, block_device_close(block, "d0", &err));
    must_be_writable(block, "d0.qcow2");
}

/* What a group says that it freezes, told to another start's block layer, is frozen there too. */
TEST(test_restart)
{
    struct block *block = *state;
    struct err err;
    size_t failed;
    struct group *group = group_of(block, "g1", 1, NAMES, &failed, &err);
    struct block *next = block_open(scratch_dir(), &err);
    struct group_member_info info;
    group_member_info(group, 0, &info);
    assert_int_equal(1, info.frozen_count);
    assert_string_equal(info.backing_identity, info.frozen_files[0].identity);
    assert_int_equal(0, block_frozen_file_add(next, info.frozen_files[0].identity,
                                              info.frozen_files[0].path, &err));
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    assert_int_equal(0, block_device_close(block, "d0", &err));
    shell("ln d0.qcow2 hard.qcow2");
    must_be_writable(block, "d0.qcow2"); /* before the file itself says that it is frozen */
    must_be_frozen(next, "d0.qcow2");
    must_be_frozen(next, "hard.qcow2");
    assert_int_equal(0, block_close(next, &err));
}

/* Of groups that were recorded without. */
TEST(test_older_groups)
{
    struct block *block = *state;
    struct err err;
    struct frozen_file *files;
    size_t count;
    freeze_twice(block);
    struct block *next = block_open(scratch_dir(), &err);
    assert_int_equal(0, block_chain_files(next, "d0.g1", "qcow2", &files, &count, &err));
    assert_int_equal(2, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(0, block_frozen_file_add(next, files[i].identity, files[i].path, &err));
    frozen_files_free(files, count);
    must_be_frozen(next, "d0.g1");
    must_be_frozen(next, "d0.qcow2");
    must_be_writable(next, "d0.g2");
    assert_int_equal(0, block_chain_files(next, "d0.g1", "qcow2", &files, &count, &err));
    assert_int_equal(0, count);
    frozen_files_free(files, count);
    assert_int_equal(0, block_close(next, &err));
}
