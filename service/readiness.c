/* SPDX-License-Identifier: Apache-2.0
 *
 * See readiness.h. A list makes a sweep of its members, sorted by directory, and one thread looks
 * at them directory by directory. If nothing is heard of it for STEP_MS, the sweep goes on with the
 * next directory on another thread. A thread that has looked at one file for READINESS_WAIT_MS is
 * stuck: lists that come later do not ask for what is in that directory.
 *
 *   readiness_list --> sweep --step--> thread: a directory, the next one, ... --> all are done
 *                        \--step------> another thread, if the first one is stuck
 *
 * Invariants:
 *   R1  A sweep is freed by the last one that uses it: its list, or a thread.
 *   R2  No directory of a sweep is taken by two threads.
 */
#include "service/readiness.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/monotonic.h"
#include "block/block.h"
#include "store/groups.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 16, STEP_MS = 50 };

/* A frozen image. */
struct sweep_file {
    const char *path, *identity;
    size_t directory_bytes;
    size_t position; /* in the list's answer */
};

struct sweep {
    struct sweep *next; /* these: lock */
    unsigned users;
    bool is_queued, is_awaited; /* by a thread; by its list */
    size_t taken, done;         /* files */
    enum member_readiness *answers;
    struct sweep_file *files; /* constant, like the rest */
    size_t count, answer_count;
    char *texts;
};

struct sweep_thread {
    struct readiness *readiness;
    pthread_t thread;
    const struct sweep_file *file; /* lock: it looks at; NULL: at none */
    uint64_t since_us;             /* lock */
};

struct readiness {
    struct block *block;
    pthread_mutex_t lock;
    pthread_cond_t asked;    /* a sweep wants a thread, or the end has come */
    pthread_cond_t progress; /* a thread is done with a sweep */
    struct sweep *queue;     /* lock, like the rest */
    unsigned queued, idle, thread_count;
    bool is_ending;
    struct sweep_thread threads[THREADS_MAX];
};

/* ---- a sweep ---- */

static size_t directory_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool directory_is(const struct sweep_file *a, const struct sweep_file *b)
{
    return a->directory_bytes == b->directory_bytes &&
           memcmp(a->path, b->path, a->directory_bytes) == 0;
}

static int file_compare(const void *one, const void *other)
{
    const struct sweep_file *a = one, *b = other;
    if (a->directory_bytes != b->directory_bytes)
        return a->directory_bytes < b->directory_bytes ? -1 : 1;
    return memcmp(a->path, b->path, a->directory_bytes);
}

static void sweep_free(struct sweep *sweep)
{
    if (!sweep)
        return;
    free(sweep->answers);
    free(sweep->files);
    free(sweep->texts);
    free(sweep);
}
CLEANUP_DEFINE(sweep, struct sweep *, sweep_free)

static void sweep_release_locked(struct sweep *sweep)
{
    assert(sweep->users > 0); /* R1 */
    if (--sweep->users == 0)
        sweep_free(sweep);
}

bool member_is_frozen(const struct group_row *row, const struct member_row *member)
{
    bool is_committed =
        row->state == GROUP_COMMITTED || (group_row_is_cut(row) && member->is_settled);
    return is_committed && member->backing_file;
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static void sweep_measure(struct sweep *sweep, const struct group_row *rows, size_t count,
                          size_t *bytes)
{
    for (const struct group_row *row = rows; row < rows + count; row++) {
        sweep->answer_count += row->member_count;
        for (size_t i = 0; i < row->member_count; i++)
            *bytes += text_bytes(row->members[i].backing_file) +
                      text_bytes(row->members[i].backing_identity);
    }
}

static const char *text_copy(char **at, const char *text)
{
    char *copy = *at;
    if (!text)
        return NULL;
    *at = stpcpy(copy, text) + 1;
    return copy;
}

static void sweep_fill(struct sweep *sweep, const struct group_row *rows, size_t count)
{
    char *at = sweep->texts;
    size_t position = 0;
    for (const struct group_row *row = rows; row < rows + count; row++)
        for (size_t i = 0; i < row->member_count; i++, position++) {
            const struct member_row *member = &row->members[i];
            sweep->answers[position] = MEMBER_MISSING;
            if (!member_is_frozen(row, member))
                continue;
            struct sweep_file *file = &sweep->files[sweep->count++];
            sweep->answers[position] = MEMBER_UNKNOWN;
            file->path = text_copy(&at, member->backing_file);
            file->identity = text_copy(&at, member->backing_identity);
            file->directory_bytes = directory_bytes(file->path);
            file->position = position;
        }
}

static struct sweep *sweep_new(const struct group_row *rows, size_t count)
{
    size_t bytes = 1;
    CLEANUP(sweep) struct sweep *sweep = calloc(1, sizeof(*sweep));
    if (!sweep)
        return NULL;
    sweep_measure(sweep, rows, count, &bytes);
    sweep->answers = calloc(sweep->answer_count + 1, sizeof(*sweep->answers));
    sweep->files = calloc(sweep->answer_count + 1, sizeof(*sweep->files));
    sweep->texts = malloc(bytes);
    if (!sweep->answers || !sweep->files || !sweep->texts)
        return NULL;
    sweep_fill(sweep, rows, count);
    qsort(sweep->files, sweep->count, sizeof(*sweep->files), file_compare);
    sweep->users = 1;
    sweep->is_awaited = true;
    return steal(sweep);
}

/* ---- threads ---- */

static bool thread_is_stuck(const struct sweep_thread *thread, uint64_t now_us)
{
    return thread->file && now_us - thread->since_us >= READINESS_WAIT_MS * 1000;
}

static bool directory_is_stuck_locked(const struct readiness *readiness,
                                      const struct sweep_file *file)
{
    uint64_t now_us = clock_monotonic_us();
    for (unsigned i = 0; i < readiness->thread_count; i++)
        if (thread_is_stuck(&readiness->threads[i], now_us) &&
            directory_is(readiness->threads[i].file, file))
            return true;
    return false;
}

/* Takes the next directory: its files up to *end. */
static size_t sweep_take_locked(struct sweep *sweep, size_t *end)
{
    size_t start = sweep->taken;
    assert(start < sweep->count);
    for (*end = start + 1; *end < sweep->count; ++*end)
        if (!directory_is(&sweep->files[start], &sweep->files[*end]))
            break;
    sweep->taken = *end; /* R2 */
    return start;
}

static void thread_look_locked(struct sweep_thread *thread, struct sweep *sweep, size_t at)
{
    struct readiness *readiness = thread->readiness;
    const struct sweep_file *file = &sweep->files[at];
    thread->since_us = clock_monotonic_us();
    thread->file = file;
    pthread_mutex_unlock(&readiness->lock);
    bool is_there = block_image_is(readiness->block, file->path, file->identity);
    pthread_mutex_lock(&readiness->lock);
    thread->file = NULL;
    sweep->answers[file->position] = is_there ? MEMBER_READY : MEMBER_MISSING;
    sweep->done++;
    assert(sweep->done <= sweep->taken); /* R2 */
}

static void thread_sweep_locked(struct sweep_thread *thread, struct sweep *sweep)
{
    struct readiness *readiness = thread->readiness;
    while (sweep->taken < sweep->count && sweep->is_awaited && !readiness->is_ending) {
        size_t end, at = sweep_take_locked(sweep, &end);
        bool is_stuck = directory_is_stuck_locked(readiness, &sweep->files[at]);
        for (; at < end && !is_stuck && sweep->is_awaited && !readiness->is_ending; at++)
            thread_look_locked(thread, sweep, at);
        sweep->done += end - at; /* those stay unknown */
    }
    pthread_cond_broadcast(&readiness->progress);
}

static void *thread_run(void *arg)
{
    struct sweep_thread *thread = arg;
    struct readiness *readiness = thread->readiness;
    pthread_setname_np(pthread_self(), "readiness");
    LOCK_GUARD(&readiness->lock);
    for (;;) {
        struct sweep *sweep = readiness->queue;
        if (!sweep && readiness->is_ending)
            return NULL;
        if (!sweep) {
            readiness->idle++;
            condition_wait(&readiness->asked, &readiness->lock);
            readiness->idle--;
            continue;
        }
        readiness->queue = sweep->next;
        readiness->queued--;
        sweep->is_queued = false;
        thread_sweep_locked(thread, sweep);
        sweep_release_locked(sweep);
    }
}

/* ---- a list ---- */

static void thread_start_locked(struct readiness *readiness)
{
    struct sweep_thread *thread = &readiness->threads[readiness->thread_count];
    thread->readiness = readiness;
    if (pthread_create(&thread->thread, NULL, thread_run, thread) == 0)
        readiness->thread_count++;
}

static void sweep_queue_locked(struct readiness *readiness, struct sweep *sweep)
{
    struct sweep **end = &readiness->queue;
    while (*end)
        end = &(*end)->next;
    *end = sweep;
    sweep->next = NULL;
    sweep->is_queued = true;
    sweep->users++;
    readiness->queued++;
    pthread_cond_signal(&readiness->asked);
}

/* The list waits no longer. What no thread has taken leaves the queue: all of them may hang for
 * long. */
static void sweep_leave_locked(struct readiness *readiness, struct sweep *sweep)
{
    sweep->is_awaited = false;
    if (sweep->is_queued) {
        struct sweep **link = &readiness->queue;
        while (*link != sweep)
            link = &(*link)->next;
        *link = sweep->next;
        readiness->queued--;
        sweep->is_queued = false;
        assert(sweep->users > 1); /* R1: its list uses it, too */
        sweep->users--;
    }
    sweep_release_locked(sweep);
}

/* Has one more thread work on the sweep, unless one is about to. Where there is no thread none of
 * its files is looked at. */
static void sweep_step_locked(struct readiness *readiness, struct sweep *sweep)
{
    bool is_wanting = !sweep->is_queued && sweep->taken < sweep->count;
    unsigned queued = readiness->queued + is_wanting;
    if (queued > readiness->idle && readiness->thread_count < THREADS_MAX)
        thread_start_locked(readiness);
    if (is_wanting && readiness->thread_count > 0)
        sweep_queue_locked(readiness, sweep);
}

/* Whether nothing would come of waiting: every thread that there can be is stuck. */
static bool readiness_is_stuck_locked(const struct readiness *readiness)
{
    unsigned stuck = 0;
    uint64_t now_us = clock_monotonic_us();
    for (unsigned i = 0; i < readiness->thread_count; i++)
        stuck += thread_is_stuck(&readiness->threads[i], now_us);
    return stuck == readiness->thread_count && (stuck == 0 || stuck == THREADS_MAX);
}

static void sweep_await_locked(struct readiness *readiness, struct sweep *sweep)
{
    const uint64_t end_us = clock_monotonic_us() + READINESS_WAIT_MS * 1000;
    while (sweep->done < sweep->count && clock_monotonic_us() < end_us &&
           !readiness_is_stuck_locked(readiness)) {
        size_t done = sweep->done;
        (void)condition_wait_until(&readiness->progress, &readiness->lock,
                                   clock_monotonic_us() + STEP_MS * 1000);
        if (sweep->done == done)
            sweep_step_locked(readiness, sweep);
    }
}

enum member_readiness *readiness_list(struct readiness *readiness, const struct group_row *rows,
                                      size_t count)
{
    struct sweep *sweep = sweep_new(rows, count);
    if (!sweep)
        return NULL;
    LOCK_GUARD(&readiness->lock);
    sweep_step_locked(readiness, sweep);
    sweep_await_locked(readiness, sweep);
    size_t bytes = (sweep->answer_count + 1) * sizeof(*sweep->answers);
    enum member_readiness *answers = malloc(bytes);
    if (answers)
        memcpy(answers, sweep->answers, bytes);
    sweep_leave_locked(readiness, sweep);
    return answers;
}

enum member_readiness *readiness_when_committed(const struct group_row *row)
{
    enum member_readiness *answers = calloc(row->member_count + 1, sizeof(*answers));
    for (size_t i = 0; answers && i < row->member_count; i++)
        answers[i] = member_is_frozen(row, &row->members[i]) ? MEMBER_READY : MEMBER_MISSING;
    return answers;
}

/* ---- life ---- */

struct readiness *readiness_new(struct block *block, struct err *err)
{
    struct readiness *readiness = calloc(1, sizeof(*readiness));
    if (!readiness) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for lists of groups");
        return NULL;
    }
    readiness->block = block;
    pthread_mutex_init(&readiness->lock, NULL);
    pthread_cond_init(&readiness->asked, NULL);
    pthread_cond_init(&readiness->progress, NULL);
    return readiness;
}

void readiness_close(struct readiness *readiness)
{
    if (!readiness)
        return;
    pthread_mutex_lock(&readiness->lock);
    readiness->is_ending = true;
    pthread_cond_broadcast(&readiness->asked);
    pthread_mutex_unlock(&readiness->lock);
    for (unsigned i = 0; i < readiness->thread_count; i++)
        pthread_join(readiness->threads[i].thread, NULL);
    assert(!readiness->queue);
    pthread_cond_destroy(&readiness->progress);
    pthread_cond_destroy(&readiness->asked);
    pthread_mutex_destroy(&readiness->lock);
    free(readiness);
}
