/* SPDX-License-Identifier: Apache-2.0
 *
 * Members of a group are flushed, staged, sealed and frozen side by side: while the first in the
 * list waits for its storage, the others go on. Whichever fails first, the first in list order is
 * reported.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const NAMES[] = {"d0", "d1", "d2"};

struct job {
    pthread_t thread;
    struct block *block;
    struct group *group;
    size_t failed_member;
    struct err err;
    int ret;
};

static void *prepare_run(void *arg)
{
    struct job *job = arg;
    job->ret = group_prepare(job->group, &job->failed_member, &job->err);
    return NULL;
}

static void *finish_run(void *arg)
{
    struct job *job = arg;
    group_must_finish(job->group);
    return NULL;
}

static void *write_run(void *arg)
{
    disk_write(arg, "d0", 3, 2);
    return NULL;
}

static void start(struct job *job, void *(*run)(void *))
{
    assert_int_equal(pthread_create(&job->thread, NULL, run, job), 0);
}

/* A group of all disks, each with something to flush, being prepared while d0 cannot be flushed. */
static void prepare_starts(struct job *job, struct block *block)
{
    struct err err;
    size_t failed_member;
    for (size_t i = 0; i < 3; i++)
        disk_write(block, NAMES[i], 1, 1);
    faulty_hold_flushes("/d0.qcow2");
    *job = (struct job){.group = group_of(block, "g.qcow2", 3, NAMES, &failed_member, &err)};
    assert_non_null(job->group);
    start(job, prepare_run);
}

static void prepared_must_commit(struct job *job)
{
    pthread_join(job->thread, NULL);
    assert_int_equal(job->ret, 0);
    group_must_cut(job->group);
    group_must_finish(job->group);
    group_free(job->group);
}

static void await_frozen(struct node *node)
{
    while (!atomic_load(&node->read_only))
        sched_yield();
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(the_others_are_flushed_meanwhile)
{
    struct job job;
    prepare_starts(&job, *state);
    faulty_wait_flushes("/d0.qcow2", 1);
    faulty_wait_flushes("/d1.qcow2", 1);
    faulty_wait_flushes("/d2.qcow2", 1);
    faulty_let_flushes_go();
    prepared_must_commit(&job);
}

static bool there_are(const char *files, int count)
{
    char command[128];
    snprintf(command, sizeof(command), "test $(find . -name '%s' -size +0 | wc -l) = %d", files,
             count);
    return shell_status("%s", command) == 0;
}

TEST(overlays_are_created_meanwhile)
{
    struct job job;
    struct err err;
    prepare_starts(&job, *state);
    faulty_wait_flushes("/d0.qcow2", 1);
    while (!there_are("d?.g.qcow2", 3))
        sched_yield();
    faulty_fail_flush("/d0.qcow2", ENOSPC);
    faulty_let_flushes_go();
    pthread_join(job.thread, NULL);
    assert_int_equal(job.ret, -1);
    assert_int_equal(job.failed_member, 0);
    assert_int_equal(group_abort(job.group, &err), 0);
    group_free(job.group);
    assert_true(there_are("*.g.qcow2", 0));
    faulty_fail_flush(NULL, 0);
}

TEST(a_group_that_is_not_prepared_waits_for_its_flushes)
{
    struct job job;
    struct err err;
    size_t failed_member;
    disk_write(*state, "d0", 1, 1);
    faulty_hold_flushes("/d0.qcow2");
    job.group = group_of(*state, "g.qcow2", 3, NAMES, &failed_member, &err);
    assert_non_null(job.group);
    faulty_wait_flushes("/d0.qcow2", 1);
    faulty_let_flushes_go();
    assert_int_equal(group_abort(job.group, &err), 0);
    group_free(job.group);
}

TEST(the_others_are_staged_meanwhile)
{
    struct job job;
    faulty_hold_creates("d0.qcow2");
    prepare_starts(&job, *state);
    faulty_let_flushes_go();
    faulty_wait_held(1);
    while (!there_are(".snapgroupd-*", 2))
        sched_yield();
    faulty_let_creates_go();
    prepared_must_commit(&job);
}

TEST(the_first_in_list_order_is_reported)
{
    struct job job;
    struct err err;
    faulty_fail_flush(".qcow2", ENOSPC);
    prepare_starts(&job, *state);
    faulty_wait_flushes("/d1.qcow2", 1);
    faulty_wait_flushes("/d2.qcow2", 1);
    faulty_let_flushes_go();
    pthread_join(job.thread, NULL);
    assert_int_equal(job.ret, -1);
    assert_int_equal(job.failed_member, 0);
    assert_int_equal(job.err.code, ErrOpenFileFailed);
    assert_int_equal(job.err.errnum, ENOSPC);
    assert_int_equal(group_abort(job.group, &err), 0);
    group_free(job.group);
    assert_int_equal(shell_status("ls | grep g.qcow2"), 1);
    faulty_fail_flush(NULL, 0);
    group_take(*state, "g.qcow2", 3, NAMES);
}

TEST(the_others_are_frozen_while_one_is_not_sealed)
{
    struct block *block = *state;
    struct job job = {.block = block};
    pthread_t writer;
    struct node *tops[] = {disk(block, "d0")->newest, disk(block, "d1")->newest,
                           disk(block, "d2")->newest};
    for (size_t i = 0; i < 3; i++)
        disk_write(block, NAMES[i], 1, 1);
    job.group = group_must_prepare(block, "g.qcow2", 3, NAMES);
    faulty_hold_writes("/d0.qcow2");
    assert_int_equal(pthread_create(&writer, NULL, write_run, block), 0);
    faulty_wait_held(1);
    group_must_cut(job.group);
    start(&job, finish_run);
    await_frozen(tops[1]);
    await_frozen(tops[2]);
    assert_false(atomic_load(&tops[0]->read_only));
    faulty_let_writes_go();
    pthread_join(writer, NULL);
    pthread_join(job.thread, NULL);
    assert_true(atomic_load(&tops[0]->read_only));
    group_free(job.group);
    assert_true(image_has("d0.qcow2", "qcow2", 3, 2));
}
