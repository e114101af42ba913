/* SPDX-License-Identifier: Apache-2.0
 *
 * More members of a group hang than it has threads, first in a flush, then in writes that were in
 * flight at the cut: another group is taken meanwhile, from its beginning to its end.
 */
#include "base/parallel.h"
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <stdio.h>

enum { HANGING = PARALLEL_THREADS + 4 };

static char names[HANGING][16];
static const char *hanging[HANGING];
static const char *const others[] = {"d0", "d1", "d2"};

struct writer {
    pthread_t thread;
    struct block *block;
    const char *name;
};

static struct group *group;

static void *prepare_run(void *arg)
{
    struct err err;
    size_t failed_member;
    (void)arg;
    return group_prepare(group, &failed_member, &err) == 0 ? NULL : group;
}

static void *finish_run(void *arg)
{
    (void)arg;
    group_must_finish(group);
    return NULL;
}

static void *write_run(void *arg)
{
    const struct writer *writer = arg;
    disk_write(writer->block, writer->name, 2, 2);
    return NULL;
}

static int begin(void **state)
{
    if (disks_begin(state) != 0)
        return -1;
    for (size_t i = 0; i < HANGING; i++) {
        char image[32];
        snprintf(names[i], sizeof(names[i]), "h%zu", i);
        snprintf(image, sizeof(image), "%s.hanging", names[i]);
        hanging[i] = names[i];
        disk_add(*state, names[i], image, "qcow2");
        disk_write(*state, names[i], 1, 1);
    }
    return 0;
}

static void thread_must_end(pthread_t thread)
{
    void *failed;
    pthread_join(thread, &failed);
    assert_null(failed);
}

static const struct fixture fixture = {.begin = begin, .end = disks_end};

TEST(in_flushes)
{
    struct err err;
    size_t failed_member;
    pthread_t thread;
    faulty_hold_flushes(".hanging");
    group = group_of(*state, "g.qcow2", HANGING, hanging, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(pthread_create(&thread, NULL, prepare_run, NULL), 0);
    for (size_t i = 0; i < PARALLEL_THREADS; i++) {
        char image[32];
        snprintf(image, sizeof(image), "/h%zu.hanging", i);
        faulty_wait_flushes(image, 1);
    }
    group_take(*state, "other.qcow2", 3, others);
    faulty_let_flushes_go();
    thread_must_end(thread);
    assert_int_equal(group_abort(group, &err), 0);
    group_free(group);
}

TEST(in_writes_at_the_cut)
{
    struct writer writers[HANGING];
    pthread_t thread;
    group = group_must_prepare(*state, "g.qcow2", HANGING, hanging);
    faulty_hold_writes(".hanging");
    for (size_t i = 0; i < HANGING; i++) {
        writers[i] = (struct writer){.block = *state, .name = names[i]};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_run, &writers[i]), 0);
    }
    faulty_wait_held(HANGING);
    group_must_cut(group);
    assert_int_equal(pthread_create(&thread, NULL, finish_run, NULL), 0);
    group_take(*state, "other.qcow2", 3, others);
    faulty_let_writes_go();
    for (size_t i = 0; i < HANGING; i++)
        pthread_join(writers[i].thread, NULL);
    thread_must_end(thread);
    group_free(group);
    for (size_t i = 0; i < HANGING; i++)
        assert_int_equal(disk_read(*state, names[i], 2), 2);
}
