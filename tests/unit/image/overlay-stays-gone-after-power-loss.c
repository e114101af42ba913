/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery syncs the directory after it took an overlay away, at whatever step its making was cut
 * short, and also if it finds nothing: an earlier recovery may have been killed just before it
 * synced. Else the name could come back with the next power failure, when no row knows it any more.
 */
#include "block/overlay.h"
#include "tests/lib/disks.h"

#include "block/image/image.h"
#include "block/image/stage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uuid/uuid.h>

static unsigned char id[OWNER_ID_BYTES];

/* What the last sync of the image directory, "." here, made durable. */
static unsigned syncs;
static char *synced;

int fsync(int fd)
{
    struct stat of, dot;
    if (fstat(fd, &of) == 0 && stat(".", &dot) == 0 && of.st_ino == dot.st_ino &&
        of.st_dev == dot.st_dev) {
        free(synced);
        synced = scratch_listing();
        syncs++;
    }
    return (int)syscall(SYS_fsync, fd);
}

static void discard_must_be_durable(struct block *block, const char *listing)
{
    struct err err;
    unsigned before = syncs;
    assert_int_equal(0, block_overlay_discard(block, "o.qcow2", NULL, "qcow2", id, &err));
    assert_true(syncs > before);
    assert_string_equal(listing, synced);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_discard)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    const struct group_member member = {
        .device = "d0", .snapshot_file = "o.qcow2", .format = "qcow2"};
    CLEANUP_FREE char *listing = scratch_listing();
    uuid_generate(id);

    /* Staged only. */
    struct image_dir dir;
    struct image_place place = IMAGE_PLACE_INIT;
    assert_int_equal(0, image_dir_open(&dir, block_image_dir(block), &err));
    assert_int_equal(0, image_place_open(&dir, "o.qcow2", &place, &err));
    int fd = stage_create(&place, id, &err);
    assert_true(fd >= 0);
    close(fd);
    image_place_close(&place);
    image_dir_close(&dir);
    discard_must_be_durable(block, listing);

    /* Published. */
    struct group *group = group_begin(block, id, &member, 1, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(0, group_prepare(group, &failed_member, &err));
    group_free(group);
    discard_must_be_durable(block, listing);

    /* Gone already. */
    discard_must_be_durable(block, listing);
}
