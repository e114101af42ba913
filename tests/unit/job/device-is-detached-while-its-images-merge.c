/* SPDX-License-Identifier: Apache-2.0
 *
 * A device is detached while a job merges images beneath its top: what the job has written and not
 * flushed yet is not the device's, and no reason to refuse. The merge goes on, and the chain reads
 * as before when it is attached again. Nor does it matter who opens the image that is written.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

static const char *const NAMES[] = {"d0"};
static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

static void push_all(struct merge *merge)
{
    struct err err = {.message = ""};
    uint64_t offset = 0, copied;
    int ret;
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0)
        continue;
    if (ret != 1)
        fail_msg("%s", err.message);
}

TEST(what_a_job_has_not_flushed_is_not_the_devices)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    disk_write(block, "d0", 0, 1);
    group_take(block, "1.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 2);
    group_take(block, "2.qcow2", 1, NAMES);
    disk_write(block, "d0", 2, 3);
    struct merge *merge = images_merge_begin(block, "d0.qcow2", "d0.1.qcow2");
    push_all(merge);
    disk_detach(block, "d0");
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
    disk_attach(block, "d0", "d0.2.qcow2");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(disk_read(block, "d0", i), i + 1);
}

/* Nothing is open then. */
static void journals_open(struct block *block)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *path = scratch_path("run");
    for (const char *name = "d0\0d1\0d2\0"; *name; name += 3)
        disk_detach(block, name);
    shell("mkdir -p %s", path);
    assert_int_equal(block_journals_open(block, path, &err), 0);
    disk_attach(block, "d0", "d0.qcow2");
}

/* The base is written, but by the job: whoever opens it to look finds the open image, to which he
 * adds nothing. */
TEST(who_looks_at_the_base_gives_it_no_journal)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct chain_image *chain;
    size_t length;
    journals_open(block);
    disk_write(block, "d0", 0, 1);
    group_take(block, "1.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 2);
    group_take(block, "2.qcow2", 1, NAMES);
    struct merge *merge = images_merge_begin(block, "d0.qcow2", "d0.1.qcow2");
    push_all(merge);
    assert_int_equal(block_chain_list(block, "d0.qcow2", "qcow2", &chain, &length, &err), 0);
    assert_int_equal(length, 1);
    chain_images_free(chain, length);
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(disk_read(block, "d0", i), i + 1);
}
