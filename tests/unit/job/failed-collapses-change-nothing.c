/* SPDX-License-Identifier: Apache-2.0
 *
 * A collapse that fails, or that a group or a detach comes across, leaves the device as it is: no
 * request fails, and what it wrote is there. Between the hold and the record, requests fail as they
 * would an instant later.
 */
#include "block/collapse.h"
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>

static const char *const NAMES[] = {"d0"};

static void must(int ret, const struct err *err)
{
    if (ret != 0)
        fail_msg("%s", err->message);
}

/* d0 has a journal. */
static int begin(void **state)
{
    struct err err = {.message = ""};
    assert_int_equal(0, disks_begin(state));
    shell("mkdir -m 700 run");
    CLEANUP_FREE char *runtime = scratch_path("run");
    must(block_journals_open(*state, runtime, &err), &err);
    disk_detach(*state, "d0");
    disk_attach(*state, "d0", "d0.qcow2");
    return 0;
}

static const struct fixture fixture = {.begin = begin, .end = disks_end};

static struct merge *must_open_again(struct block *block)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("d0.qcow2"), *upper = scratch_path("d0.1.qcow2");
    const struct merge_image base = {lower, "qcow2", NULL}, top = {upper, "qcow2", NULL};
    struct merge *merge = merge_open(block, &base, &top, &err);
    must(merge ? 0 : -1, &err);
    return merge;
}

/* d0.qcow2 <- d0.1.qcow2, the top of d0; one block in each. */
static struct merge *must_open(struct block *block)
{
    disk_write(block, "d0", 0, 1);
    group_take(block, "1.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 2);
    return must_open_again(block);
}

static struct collapse *must_begin(struct merge *merge)
{
    struct err err = {.message = ""};
    struct collapse *collapse;
    must(collapse_begin(merge, &collapse, &err), &err);
    return collapse;
}

static int copy_all(struct collapse *collapse, struct err *err)
{
    uint64_t offset = 0, copied;
    int ret;
    while ((ret = collapse_copy(collapse, &offset, &copied, err)) == 0)
        continue;
    return ret;
}

/* The blocks 0, 1, 2 have 1, 2, 3, and the device goes on. */
static void must_go_on(struct block *block)
{
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(i + 1, disk_read(block, "d0", i));
    disk_write(block, "d0", 3, 4);
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_false(device_has_failed(disk(block, "d0")));
    assert_int_equal(4, disk_read(block, "d0", 3));
}

static void end_must_keep_top(struct block *block, struct collapse *collapse, struct merge *merge,
                              int expected)
{
    struct err err = {.message = ""};
    faulty_reset();
    assert_int_equal(expected, collapse_end(collapse, &err));
    CLEANUP(node) struct node *top = device_top(disk(block, "d0"));
    CLEANUP_FREE char *upper = scratch_path("d0.1.qcow2");
    assert_string_equal(upper, top->path);
    merge_close(merge);
    must_go_on(block);
}

static void *write_third(void *block)
{
    unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = 3;
    return (void *)(intptr_t)device_write(disk(block, "d0"), bytes, 2 * sizeof(bytes),
                                          sizeof(bytes), 0);
}

/* What the request returns whose write to the base fails. */
static int write_while_base_fails(struct block *block)
{
    pthread_t writer;
    void *ret;
    faulty_hold_writes("/d0.qcow2");
    assert_int_equal(0, pthread_create(&writer, NULL, write_third, block));
    faulty_wait_held(1);
    faulty_fail_held_writes(EIO);
    faulty_let_writes_go();
    pthread_join(writer, &ret);
    faulty_reset();
    return (int)(intptr_t)ret;
}

TEST(a_write_to_the_base_fails_no_request)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(0, write_while_base_fails(block));
    assert_int_equal(-1, copy_all(collapse, &err));
    assert_int_equal(EIO, err.errnum);
    end_must_keep_top(block, collapse, merge, 0);
}

TEST(a_write_that_is_not_made_again_ends_the_copying)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    faulty_fail_room("/d0.1.qcow2", EIO);
    assert_int_equal(-EIO, (intptr_t)write_third(block)); /* but the top has it */
    faulty_reset();
    assert_int_equal(-1, copy_all(collapse, &err));
    assert_int_equal(EIO, err.errnum);
    end_must_keep_top(block, collapse, merge, 0);
}

TEST(a_write_that_fails_just_before_is_found)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(1, copy_all(collapse, &err));
    assert_int_equal(0, write_while_base_fails(block));
    assert_int_equal(-1, collapse_hold(collapse, &err));
    end_must_keep_top(block, collapse, merge, 0);
}

TEST(a_sync_of_the_base_fails_no_flush)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    disk_write(block, "d0", 2, 3);
    assert_int_equal(1, copy_all(collapse, &err));
    faulty_fail_sync("/d0.qcow2", EIO);
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_int_equal(-1, collapse_hold(collapse, &err));
    assert_int_equal(ErrUnflushedData, err.code);
    end_must_keep_top(block, collapse, merge, -1);
}

/* What was copied of it may not be what clients wrote: it is not to go. */
static void failed_top_must_stay(struct block *block, struct collapse *collapse,
                                 struct merge *merge)
{
    struct err err = {.message = ""};
    assert_int_equal(-1, collapse_hold(collapse, &err));
    assert_int_equal(ErrDeviceFailed, err.code);
    faulty_reset();
    assert_int_equal(0, collapse_end(collapse, &err));
    CLEANUP(node) struct node *top = device_top(disk(block, "d0"));
    CLEANUP_FREE char *upper = scratch_path("d0.1.qcow2");
    assert_string_equal(upper, top->path);
    assert_true(device_has_failed(disk(block, "d0")));
    merge_close(merge);
}

TEST(a_top_that_a_flush_could_not_sync_stays)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    faulty_fail_sync("/d0.1.qcow2", EIO);
    assert_int_equal(-EIO, device_flush(disk(block, "d0")));
    assert_int_equal(1, copy_all(collapse, &err));
    failed_top_must_stay(block, collapse, merge);
}

TEST(a_top_that_cannot_be_synced_when_it_is_copied_stays)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(1, copy_all(collapse, &err));
    faulty_fail_sync("/d0.1.qcow2", EIO);
    failed_top_must_stay(block, collapse, merge);
}

/* As on a full disk: the base stays writable, and the next collapse, or merge, goes on with it. */
static void leave_unflushed(struct block *block)
{
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    disk_write(block, "d0", 2, 3);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(1, copy_all(collapse, &err));
    faulty_fail_flush("/d0.qcow2", ENOSPC);
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_int_equal(-1, collapse_end(collapse, &err));
    merge_close(merge);
    faulty_reset();
}

TEST(a_base_that_could_not_be_flushed_is_collapsed_later)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    leave_unflushed(block);
    disk_write(block, "d0", 1, 2);
    struct merge *merge = must_open_again(block);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(1, copy_all(collapse, &err));
    must(collapse_hold(collapse, &err), &err);
    collapse_commit(collapse);
    must(collapse_end(collapse, &err), &err);
    merge_close(merge);
    shell("rm d0.1.qcow2");
    must_go_on(block);
}

TEST(while_it_is_recorded_requests_fail_with_the_base)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse = must_begin(merge);
    assert_int_equal(1, copy_all(collapse, &err));
    must(collapse_hold(collapse, &err), &err);
    assert_int_equal(-EIO, write_while_base_fails(block));
    disk_write(block, "d0", 2, 3); /* to both */
    collapse_commit(collapse);
    must(collapse_end(collapse, &err), &err);
    merge_close(merge);
    shell("rm d0.1.qcow2");
    must_go_on(block);
    group_take(block, "2.qcow2", 1, NAMES);
    must_go_on(block);
}

/* ---- others who want the device ---- */

struct other {
    struct block *block;
    void (*act)(struct block *block);
    struct merge *merge;
};

static void *other_run(void *arg)
{
    const struct other *other = arg;
    other->act(other->block);
    return NULL;
}

static void detach(struct block *block)
{
    disk_detach(block, "d0");
}

static void freeze(struct block *block)
{
    group_take(block, "2.qcow2", 1, NAMES);
}

/* The collapse ends as soon as the other holds the device, and that goes on once it has ended. */
static void come_across(struct block *block, void (*act)(struct block *block))
{
    struct err err = {.message = ""};
    struct other other = {block, act, must_open(block)};
    struct collapse *collapse = must_begin(other.merge);
    pthread_t thread;
    int ret;
    disk_write(block, "d0", 2, 3);
    assert_int_equal(0, pthread_create(&thread, NULL, other_run, &other));
    do {
        uint64_t offset = 0, copied;
        ret = collapse_copy(collapse, &offset, &copied, &err);
    } while (ret == 0 || ret == 1);
    assert_int_equal(2, ret);
    assert_int_equal(2, collapse_hold(collapse, &err));
    must(collapse_end(collapse, &err), &err);
    merge_close(other.merge);
    pthread_join(thread, NULL);
}

TEST(a_detach_ends_it)
{
    struct block *block = *state;
    come_across(block, detach);
    disk_attach(block, "d0", "d0.1.qcow2");
    must_go_on(block);
}

TEST(a_group_ends_it)
{
    struct block *block = *state;
    come_across(block, freeze);
    must_go_on(block);
    struct err err = {.message = ""};
    struct merge *merge = images_merge_begin(block, "d0.qcow2", "d0.1.qcow2"); /* from its start */
    CLEANUP_FREE char *child_path = scratch_path("d0.2.qcow2");
    const struct merge_image child = {child_path, "qcow2", NULL};
    assert_int_equal(1, merge_rest(merge, &err));
    must(merge_flush(merge, &err), &err);
    must(merge_rename(merge, &child, &err), &err);
    must(merge_redirect(merge, &err), &err);
    must(merge_end(merge, &err), &err);
    merge_close(merge);
    shell("rm d0.1.qcow2");
    must_go_on(block);
}

TEST(what_is_not_free_does_not_begin)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_open(block);
    struct collapse *collapse;
    struct group *group = group_must_prepare(block, "2.qcow2", 1, NAMES);
    assert_int_equal(1, collapse_begin(merge, &collapse, &err));
    assert_null(collapse);
    must(group_abort(group, &err), &err);
    group_free(group);
    must(collapse_begin(merge, &collapse, &err), &err);
    must(collapse_end(collapse, &err), &err);
    merge_close(merge);
}
