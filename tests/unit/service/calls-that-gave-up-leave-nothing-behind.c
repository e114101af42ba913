/* SPDX-License-Identifier: Apache-2.0
 *
 * While every thread that looks at storage hangs, a call that waited in vain leaves nothing in the
 * queue: storage may hang for days, and is asked again all the time. storage-calls.h and
 * readiness.h. block_image_is() is wrapped, and hangs.
 */
#include "tests/lib/testlib.h"

#include "service/readiness.h"
#include "service/storage-calls.h"
#include "store/groups.h"

#include <malloc.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { THREADS = 16, STORAGES = 4, CALLS = 100, MEMBERS = 500, PATH_CHARS = 500 };

static const struct fixture fixture = {0};

static sem_t answer; /* of the storage that hangs, for each thread */
static atomic_uint hung, freed;

static bool hang(void)
{
    atomic_fetch_add(&hung, 1);
    while (sem_wait(&answer) != 0)
        continue;
    return false;
}

static void hung_begin(void)
{
    assert_int_equal(sem_init(&answer, 0, 0), 0);
    atomic_store(&hung, 0);
    atomic_store(&freed, 0);
}

static void hung_end(void)
{
    for (unsigned i = 0; i < THREADS; i++)
        sem_post(&answer);
}

/* ---- calls ---- */

static int work(void *context, struct block *block, struct err *err)
{
    (void)context;
    (void)block;
    (void)err;
    hang();
    return 0;
}

static void work_free(void *context)
{
    (void)context;
    atomic_fetch_add(&freed, 1);
}

static void call_must_be_given_up(struct storage_calls *calls, const char *storage)
{
    struct err err;
    int context = 0;
    struct storage_call call = {.what = "a test",
                                .storage = storage,
                                .wait_ms = 5,
                                .calls_max = 1,
                                .work = work,
                                .free = work_free,
                                .context = &context};
    assert_int_equal(storage_call(calls, &call, &err), -1);
    assert_int_equal(err.code, ErrDeadlineExceeded);
    assert_null(call.context);
}

TEST(calls_that_no_thread_has_taken)
{
    struct err err;
    static const char *const storages[STORAGES] = {"/a:", "/b:", "/c:", "/d:"};
    hung_begin();
    struct storage_calls *calls = storage_calls_new(NULL, &err);
    assert_non_null(calls);
    for (unsigned i = 0; atomic_load(&hung) < THREADS; i++)
        call_must_be_given_up(calls, storages[i % STORAGES]); /* each holds a part of the threads */
    unsigned before = atomic_load(&freed);
    for (unsigned i = 0; i < CALLS; i++)
        call_must_be_given_up(calls, "/e:");
    assert_int_equal(atomic_load(&freed) - before, CALLS);
    hung_end();
    storage_calls_close(calls);
}

/* ---- lists ---- */

bool __wrap_block_image_is(struct block *block, const char *path, const char *identity);

bool __wrap_block_image_is(struct block *block, const char *path, const char *identity)
{
    (void)block;
    (void)path;
    (void)identity;
    return hang();
}

static void list(struct readiness *readiness, struct member_row *members, size_t count)
{
    struct group_row row = {.state = GROUP_COMMITTED, .members = members, .member_count = count};
    enum member_readiness *answers = readiness_list(readiness, &row, 1);
    assert_non_null(answers);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(answers[i], MEMBER_UNKNOWN);
    free(answers);
}

TEST(lists_that_no_thread_has_taken)
{
    struct err err;
    static char paths[MEMBERS][PATH_CHARS + 1];
    static struct member_row members[MEMBERS];
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(paths[i], sizeof(paths[i]), "/%03u/%0*d", i, PATH_CHARS - 5, 0);
        members[i].backing_file = paths[i];
    }
    hung_begin();
    struct readiness *readiness = readiness_new(NULL, &err);
    assert_non_null(readiness);
    while (atomic_load(&hung) < THREADS)
        list(readiness, members, MEMBERS);
    nanosleep(&(struct timespec){.tv_sec = READINESS_WAIT_MS / 1000,
                                 .tv_nsec = READINESS_WAIT_MS % 1000 * 1000000},
              NULL); /* until all threads are known to be stuck */
    list(readiness, members, MEMBERS);
    size_t before = mallinfo2().uordblks;
    for (unsigned i = 0; i < CALLS; i++)
        list(readiness, members, MEMBERS);
    /* 0 where a sanitizer has its own malloc, which finds no leak here. */
    assert_true(mallinfo2().uordblks <= before + MEMBERS * PATH_CHARS);
    hung_end();
    readiness_close(readiness);
}
