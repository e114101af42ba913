/* SPDX-License-Identifier: Apache-2.0
 *
 * What recovery removes: exactly the files that the given id made, at whatever step their making
 * was cut short, and nothing else; doing it twice is well.
 */
#include "block/overlay.h"
#include "tests/lib/disks.h"

#include "block/image/stage.h"

#include <string.h>

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_image_of_a_device)
{
    struct block *block = *state;
    struct err err;
    CLEANUP_FREE char *before = scratch_listing();
    assert_int_equal(0, block_image_create(block, "new.raw", "raw", 12345, NULL, owner_id, &err));
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, other_owner_id, &err));
    assert_int_equal(0, shell_status("test $(stat -c %%s new.raw) = 12800"));
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    scratch_listing_must_be(before);

    /* Settled, it is nobody's to remove. */
    assert_int_equal(0, block_image_create(block, "new.raw", "raw", 12345, NULL, owner_id, &err));
    assert_int_equal(0, block_image_keep(block, "new.raw", owner_id, &err));
    CLEANUP_FREE char *settled = scratch_listing();
    assert_int_equal(0, block_image_discard(block, "new.raw", NULL, owner_id, &err));
    scratch_listing_must_be(settled);

    /* An image that is there is not replaced, and what was staged for it goes. */
    assert_int_equal(
        -1, block_image_create(block, "new.raw", "qcow2", 12345, NULL, other_owner_id, &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
    scratch_listing_must_be(settled);
}

TEST(test_overlay_cut_short)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    const struct group_member member = {
        .device = "d0", .snapshot_file = "o.qcow2", .format = "qcow2"};
    CLEANUP_FREE char *before = scratch_listing();
    struct group *group = group_begin(block, owner_id, &member, 1, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(0, group_prepare(group, &failed_member, &err));
    group_free(group); /* neither cut nor aborted: as a killed daemon leaves it */

    assert_int_equal(0,
                     block_overlay_discard(block, "o.qcow2", NULL, "qcow2", other_owner_id, &err));
    assert_int_equal(0, shell_status("test -e o.qcow2"));
    assert_int_equal(0, block_overlay_discard(block, "o.qcow2", NULL, "qcow2", owner_id, &err));
    scratch_listing_must_be(before);
    assert_int_equal(0, block_overlay_discard(block, "o.qcow2", NULL, "qcow2", owner_id, &err));
    assert_int_equal(
        0, block_overlay_discard(block, "no/such/o.qcow2", NULL, "qcow2", owner_id, &err));
}

TEST(test_foreign_files)
{
    struct block *block = *state;
    struct err err;
    shell("echo hello > text; : > empty; qemu-img create -q -f qcow2 foreign 1M; ln -s text link; "
          "mkfifo fifo");
    CLEANUP_FREE char *before = scratch_listing();
    const char *const names[] = {"text", "empty", "foreign", "link", "fifo", "d0.qcow2"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(0, block_overlay_discard(block, names[i], NULL, "qcow2", owner_id, &err));
        assert_int_equal(0, block_image_discard(block, names[i], NULL, owner_id, &err));
    }
    scratch_listing_must_be(before);
}
