/* SPDX-License-Identifier: Apache-2.0
 *
 * After a cut each member is frozen by itself and its device released: others may have it while
 * members hang, in a write of before the cut or in their flush, however many they are. What those
 * wait for is known. A write of before the cut that fails, fails for its client alone.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { UNIT = 4096, HANGING = 20 /* more than the threads that finish members at first */ };
static const char *const NAMES[] = {"d0", "d1"};

struct writer {
    pthread_t thread;
    struct block *block;
    int ret;
};

static void *write_run(void *arg)
{
    struct writer *writer = arg;
    char bytes[UNIT];
    memset(bytes, 2, sizeof(bytes));
    writer->ret = device_write(disk(writer->block, "d0"), bytes, 3 * UNIT, sizeof(bytes), 0);
    return NULL;
}

/* A group of d0 and d1, cut while a write of d0 is in flight, and being finished. */
static struct group *cut_during_write(struct block *block, struct writer *writer)
{
    struct group *group = group_must_prepare(block, "g.qcow2", 2, NAMES);
    disk_write(block, "d1", 1, 1);
    *writer = (struct writer){.block = block};
    faulty_hold_writes("/d0.qcow2");
    assert_int_equal(pthread_create(&writer->thread, NULL, write_run, writer), 0);
    faulty_wait_held(1);
    group_must_cut(group);
    group_finish_begin(group);
    return group;
}

static void write_ends(struct writer *writer, int ret)
{
    faulty_let_writes_go();
    pthread_join(writer->thread, NULL);
    assert_int_equal(writer->ret, ret);
}

/* The member waits for a write, or for its flush. */
static void must_wait(struct group *group, size_t position, bool flushes)
{
    struct group_member_wait wait;
    struct group_member_info info;
    do
        group_member_wait(group, position, &wait);
    while (wait.is_flushing != flushes && sched_yield() == 0);
    assert_true(wait.is_waiting);
    assert_int_equal(wait.changes, flushes ? 0 : 1);
    group_member_info(group, position, &info);
    assert_false(info.is_frozen || info.is_released);
}

static void must_be_refused(struct block *block, const char *name)
{
    struct err err;
    size_t failed_member;
    assert_null(group_of(block, "refused.qcow2", 1, &name, &failed_member, &err));
    assert_int_equal(err.code, ErrDeviceInUse);
    assert_int_equal(block_device_close(block, name, &err), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(a_frozen_member_is_free_while_another_one_hangs)
{
    struct block *block = *state;
    struct writer writer;
    struct group_member_info info;
    struct err err;
    struct group *group = cut_during_write(block, &writer);
    assert_int_equal(group_finish_await(group, 1, UINT64_MAX), GROUP_FINISH_PENDING);
    group_member_info(group, 1, &info);
    assert_true(info.is_frozen && !info.is_released);
    must_be_refused(block, "d1"); /* until it is released */
    group_release_member(group, 1);
    group_take(block, "h.qcow2", 1, &NAMES[1]);
    disk_write(block, "d1", 1, 3);
    assert_int_equal(block_device_close(block, "d1", &err), 0);
    group_member_info(group, 1, &info);
    assert_true(info.is_released);
    must_wait(group, 0, false);
    must_be_refused(block, "d0");

    write_ends(&writer, 0);
    assert_int_equal(group_finish_await(group, SIZE_MAX, UINT64_MAX), GROUP_FINISH_DONE);
    assert_true(group_sealed_us(group) > 0);
    group_free(group);
    assert_true(image_has("d0.qcow2", "qcow2", 3, 2));
    assert_true(image_has("d1.qcow2", "qcow2", 1, 1));
    assert_true(image_has("d1.h.qcow2", "qcow2", 1, 3));
    group_take(block, "i.qcow2", 1, NAMES);
}

TEST(a_failed_write_fails_for_its_client_only)
{
    struct block *block = *state;
    struct writer writer;
    struct group *group = cut_during_write(block, &writer);
    faulty_fail_held_writes(EIO);
    write_ends(&writer, -EIO);
    assert_int_equal(group_finish_await(group, SIZE_MAX, UINT64_MAX), GROUP_FINISH_DONE);
    group_free(group);
    disk_write(block, "d0", 3, 5);
    assert_int_equal(disk_read(block, "d0", 3), 5);
    assert_int_equal(device_flush(disk(block, "d0")), 0);
    assert_true(image_has("d0.qcow2", "qcow2", 3, 0));
}

TEST(many_that_hang_delay_no_other)
{
    struct block *block = *state;
    char names[HANGING][8], image[32];
    const char *all[HANGING + 1];
    for (size_t i = 0; i < HANGING; i++) {
        all[i] = names[i];
        snprintf(names[i], sizeof(names[i]), "m%zu", i);
        snprintf(image, sizeof(image), "%s-hangs.qcow2", names[i]);
        disk_add(block, names[i], image, "qcow2");
    }
    all[HANGING] = "d1";
    struct group *group = group_must_prepare(block, "g.qcow2", HANGING + 1, all);
    for (size_t i = 0; i <= HANGING; i++)
        disk_write(block, all[i], 1, 1);
    faulty_hold_flushes("-hangs.qcow2");
    group_must_cut(group);
    group_finish_begin(group);
    assert_int_equal(group_finish_await(group, 1, UINT64_MAX), GROUP_FINISH_PENDING);
    group_release_member(group, HANGING);
    group_take(block, "h.qcow2", 1, &all[HANGING]);
    for (size_t i = 0; i < HANGING; i++)
        must_wait(group, i, true);
    assert_int_equal(group_finish_await(group, 2, 0), GROUP_FINISH_PENDING);
    faulty_let_flushes_go();
    assert_int_equal(group_finish_await(group, SIZE_MAX, UINT64_MAX), GROUP_FINISH_DONE);
    group_free(group);
}
