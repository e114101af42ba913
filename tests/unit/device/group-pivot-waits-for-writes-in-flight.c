/* SPDX-License-Identifier: Apache-2.0
 *
 * The cut: a write under way when the fence is raised is in the snapshot; one that comes while the
 * fence is up is held, is not in the snapshot and is done afterwards; reads and flushes go on; the
 * pause is measured.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

static const char *const NAMES[] = {"d0", "d1"};

struct write_job {
    struct block *block;
    const char *name;
    unsigned char value;
};

static void *write_run(void *arg)
{
    struct write_job *job = arg;
    disk_write(job->block, job->name, 3, job->value);
    return NULL;
}

struct pivot_job {
    struct group *group;
    uint64_t cut_at_us, pause_us;
};

static void *pivot_run(void *arg)
{
    struct pivot_job *job = arg;
    group_pivot(job->group, &job->cut_at_us, &job->pause_us);
    return NULL;
}

/* Waits until somebody stands before the raised fence. */
static void fence_await_held(struct fence *fence)
{
    for (bool is_held = false; !is_held; sched_yield()) {
        LOCK_GUARD(&fence->lock);
        is_held = fence->first_held_us != 0;
    }
}

static void fence_await_raised(struct fence *fence)
{
    for (bool is_raised = false; !is_raised; sched_yield()) {
        LOCK_GUARD(&fence->lock);
        is_raised = fence->raised;
    }
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_cut)
{
    struct block *block = *state;
    disk_write(block, "d0", 3, 1);
    disk_write(block, "d1", 3, 1);
    struct group *group = group_must_prepare(block, "g.qcow2", 2, NAMES);

    pthread_t before, cut, after;
    struct write_job in_flight = {block, "d0", 2}, late = {block, "d1", 3};
    struct pivot_job pivot = {.group = group};
    faulty_hold_writes();
    pthread_create(&before, NULL, write_run, &in_flight);
    faulty_wait_held(1);
    pthread_create(&cut, NULL, pivot_run, &pivot);
    fence_await_raised(&disk(block, "d1")->fence);
    pthread_create(&after, NULL, write_run, &late);
    fence_await_held(&disk(block, "d1")->fence);

    /* The pivot waits for the write on d0; nothing else does. */
    assert_int_equal(1, disk_read(block, "d0", 3));
    assert_int_equal(1, disk_read(block, "d1", 3));
    assert_int_equal(0, device_flush(disk(block, "d1")));

    faulty_let_writes_go();
    pthread_join(before, NULL);
    pthread_join(cut, NULL);
    pthread_join(after, NULL);
    struct group_member_info info;
    group_member_info(group, 1, &info);
    assert_true(info.pause_us > 0);
    assert_int_equal(info.pause_us, pivot.pause_us);
    group_finish(group);
    group_free(group);

    assert_int_equal(2, disk_read(block, "d0", 3));
    assert_int_equal(3, disk_read(block, "d1", 3));
    assert_true(image_has("d0.qcow2", "qcow2", 3, 2));
    assert_true(image_has("d1.qcow2", "qcow2", 3, 1));
}
