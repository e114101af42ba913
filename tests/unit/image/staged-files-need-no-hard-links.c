/* SPDX-License-Identifier: Apache-2.0
 *
 * Without hard links (link(2) fails in this program, as on FAT) images and overlays come into being
 * all the same: nothing is replaced, and at whatever step the making was cut short, recovery
 * removes the files that the given id made and no others.
 */
#include "block/image/stage.h"
#include "block/overlay.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <unistd.h>

static struct err err;

static void image_must_create(struct block *block)
{
    if (block_image_create(block, "new.raw", "raw", 12345, NULL, owner_id, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(0, shell_status("test $(stat -c %%s new.raw) = 12800"));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_image_is_removed_until_it_is_settled)
{
    struct block *block = *state;
    CLEANUP_FREE char *before = scratch_listing();
    image_must_create(block);
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, other_owner_id, &err));
    assert_int_equal(0, shell_status("test -e new.raw"));
    shell("mkdir kept && cp -p .snapgroupd-*.mark kept/");
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    /* Killed after the image had gone; then another file of that name is there. */
    shell("cp kept/.snap* . ");
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    shell("cp kept/.snap* . && echo precious > new.raw");
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    assert_int_equal(0, shell_status("grep -q precious new.raw"));
    shell("rm -r new.raw kept");
    scratch_listing_must_be(before);

    image_must_create(block);
    assert_int_equal(0, block_image_keep(block, "new.raw", owner_id, &err));
    assert_int_equal(0, shell_status("test -z \"$(ls -d .snapgroupd-* 2>/dev/null)\""));
    CLEANUP_FREE char *settled = scratch_listing();
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    scratch_listing_must_be(settled);
}

TEST(test_nothing_is_replaced)
{
    struct block *block = *state;
    shell("echo precious > new.raw; ln -s nowhere dangling");
    CLEANUP_FREE char *before = scratch_listing();
    const char *const names[] = {"new.raw", "dangling", "d0.qcow2"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(-1,
                         block_image_create(block, names[i], "qcow2", 12345, NULL, owner_id, &err));
        assert_int_equal(ErrOpenFileFailed, err.code);
        scratch_listing_must_be(before);
    }
}

/* A mark that is not whole was not followed by a rename; nor was one beside the first name. */
TEST(test_mark_that_was_cut_short)
{
    struct block *block = *state;
    CLEANUP_FREE char *before = scratch_listing();
    image_must_create(block);
    shell("mv new.raw \"$(basename .snapgroupd-*.mark .mark).tmp\"; echo precious > new.raw");
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    assert_int_equal(0, shell_status("grep -q precious new.raw && rm new.raw"));
    scratch_listing_must_be(before);

    image_must_create(block);
    shell("truncate -s 3 .snapgroupd-*.mark");
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    shell("rm new.raw");
    scratch_listing_must_be(before);
}

/* Made under its first name, as a copy is. */
static void staged_must_create(const struct image_place *place)
{
    CLEANUP_CLOSE int fd = stage_create(place, owner_id, &err);
    assert_true(fd >= 0);
    assert_int_equal(5, write(fd, "whole", 5));
}

static void published_must_be_kept(struct block *block, const struct image_place *place)
{
    for (int i = 0; i < 2; i++) /* as after a kill */
        assert_int_equal(0, stage_publish_durably(place, owner_id, &err));
    assert_int_equal(0, block_image_keep(block, "new.raw", owner_id, &err));
    assert_int_equal(0, stage_publish_durably(place, owner_id, &err));
    assert_int_equal(0, shell_status("grep -q whole new.raw && rm new.raw"));
}

TEST(test_publishing_goes_on_where_it_was_cut_short)
{
    struct block *block = *state;
    CLEANUP_FREE char *before = scratch_listing();
    struct image_dir dir;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    assert_int_equal(0, image_dir_open(&dir, ".", &err));
    assert_int_equal(0, image_place_open(&dir, "new.raw", &place, &err));

    staged_must_create(&place);
    published_must_be_kept(block, &place);

    staged_must_create(&place); /* killed before the rename */
    shell("touch \"$(basename .snapgroupd-*.tmp .tmp).mark\"");
    published_must_be_kept(block, &place);

    staged_must_create(&place);
    shell("echo precious > new.raw");
    assert_int_equal(-1, stage_publish_durably(&place, owner_id, &err));
    assert_int_equal(EEXIST, err.errnum);
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    assert_int_equal(0, shell_status("grep -q precious new.raw && rm new.raw"));
    scratch_listing_must_be(before);
    image_dir_close(&dir);
}

TEST(test_overlays)
{
    struct block *block = *state;
    const struct group_member members[] = {
        {.device = "d0", .snapshot_file = "o.qcow2", .format = "qcow2"},
        {.device = "d1", .snapshot_file = "p.qcow2", .format = "qcow2"}};
    for (int how = 0; how < 2; how++) {
        size_t failed_member;
        CLEANUP_FREE char *before = scratch_listing();
        struct group *group = group_begin(block, owner_id, members, 2, &failed_member, &err);
        assert_non_null(group);
        if (how == 0) {
            shell("echo precious > p.qcow2");
            assert_int_equal(-1, group_prepare(group, &failed_member, &err));
            assert_int_equal(1, failed_member);
            assert_int_equal(0, group_abort(group, &err));
            group_free(group);
            assert_int_equal(0, shell_status("grep -q precious p.qcow2 && rm p.qcow2"));
        } else {
            assert_int_equal(0, group_prepare(group, &failed_member, &err));
            group_free(group); /* neither cut nor aborted: as a killed daemon leaves it */
            assert_int_equal(
                0, block_overlay_discard(block, "o.qcow2", NULL, "qcow2", other_owner_id, &err));
            assert_int_equal(0, shell_status("test -e o.qcow2"));
            for (int i = 0; i < 2; i++)
                assert_int_equal(0, block_overlay_discard(block, members[i].snapshot_file, NULL,
                                                          "qcow2", owner_id, &err));
        }
        scratch_listing_must_be(before);
    }
}
