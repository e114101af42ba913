/* SPDX-License-Identifier: Apache-2.0
 *
 * See extents.h.
 *
 *   extents_get --> queue --> a thread: open, list, close --> has_ended --> the call takes the page
 *        \                                                       \--> nobody waits: it is freed
 *         +--> after EXTENT_WAIT_MAX_MS: DeadlineExceeded
 *
 * Invariants:
 *   I1  A run is freed by the last one that uses it: its call, or its thread.
 *   I2  At most DIRECTORY_RUNS_MAX threads work on members of one directory; a thread takes the
 *       first run of the queue whose directory has fewer.
 *
 * A directory is stuck while a thread works on one of its pages for longer than a page may take:
 * calls that come then are refused at once.
 */
#include "service/extents.h"

#include "service/clock.h"
#include "service/context.h"
#include "service/readiness.h"
#include "service/snapshot-groups.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    THREADS_MAX = 16,
    DIRECTORY_RUNS_MAX = 4,
    PAGE_MS = 2500,
    STUCK_MS = PAGE_MS + 1500, /* for opening the chains */
};

/* Names of exports: a device's and a group's id. */
#define EXPORT_BYTES (DEVICE_NAME_MAX + 1 + STORE_ID_CHARS + 1)

struct extents_run {
    struct extents_run *next; /* in the queue, or among the running; these four: lock */
    unsigned users;
    bool is_left;      /* its call has returned */
    uint64_t since_us; /* a thread works on it */
    pthread_cond_t ended;
    bool has_ended;           /* lock; what follows belongs to the thread until then */
    char name[EXPORT_BYTES];  /* the newer member's export */
    char older[EXPORT_BYTES]; /* "": none */
    char *directory;          /* of the newer member's image */
    uint64_t offset;
    size_t limit;
    int result;
    struct err err;
    struct extents_page page;
};

struct extent_runs {
    struct block *block;
    pthread_mutex_t lock;
    pthread_cond_t asked; /* there is a run to take, or the end has come */
    struct extents_run *queue, *running;
    unsigned calls, queued_count, idle, thread_count; /* lock, like the rest */
    bool is_ending;
    pthread_t threads[THREADS_MAX];
};

void extents_page_clear(struct extents_page *page)
{
    free(page->items);
    *page = (struct extents_page){0};
}

/* ---- a run ---- */

static void run_free(struct extents_run *run)
{
    pthread_cond_destroy(&run->ended);
    extents_page_clear(&run->page);
    free(run->directory);
    free(run);
}

static void run_release_locked(struct extents_run *run)
{
    assert(run->users > 0); /* I1 */
    if (--run->users == 0)
        run_free(run);
}

/* Lists the page, from a buffer that is cut to what there is. */
static int run_list(struct extents_run *run, struct block_extents *extents, struct err *err)
{
    struct extents_page *page = &run->page;
    page->size_bytes = block_extents_size_bytes(extents);
    page->granularity_bytes = block_extents_granularity_bytes(extents);
    page->next = run->offset;
    if (run->offset > page->size_bytes)
        return err_set(err, ErrInvalidParameter, 0,
                       "query parameter 'cursor' is past the end of the disk, which has %llu bytes",
                       (unsigned long long)page->size_bytes);
    page->items = malloc(run->limit * sizeof(*page->items));
    if (!page->items)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a page");
    return block_extents_list(extents, &page->next, PAGE_MS, page->items, run->limit, &page->count,
                              err);
}

static int run_execute(struct extents_run *run, struct block *block, struct err *err)
{
    CLEANUP(block_extents)
    struct block_extents *extents =
        block_extents_open(block, run->name, *run->older ? run->older : NULL, err);
    return extents ? run_list(run, extents, err) : -1;
}

/* ---- threads ---- */

static unsigned directory_count_locked(const struct extent_runs *runs, const char *directory)
{
    unsigned count = 0;
    for (const struct extents_run *run = runs->running; run; run = run->next)
        count += strcmp(run->directory, directory) == 0;
    return count;
}

static bool directory_is_stuck_locked(const struct extent_runs *runs, const char *directory)
{
    const uint64_t now_us = clock_monotonic_us();
    for (const struct extents_run *run = runs->running; run; run = run->next)
        if (strcmp(run->directory, directory) == 0 && now_us - run->since_us >= STUCK_MS * 1000ULL)
            return true;
    return false;
}

/* The link to the first run that a thread may take; to NULL: there is none. */
static struct extents_run **runs_next_locked(struct extent_runs *runs)
{
    struct extents_run **link = &runs->queue;
    while (*link && !(*link)->is_left &&
           directory_count_locked(runs, (*link)->directory) >= DIRECTORY_RUNS_MAX)
        link = &(*link)->next;
    return link;
}

static void run_work_locked(struct extent_runs *runs, struct extents_run *run)
{
    run->next = runs->running;
    run->since_us = clock_monotonic_us();
    runs->running = run;
    assert(directory_count_locked(runs, run->directory) <= DIRECTORY_RUNS_MAX); /* I2 */
    pthread_mutex_unlock(&runs->lock);
    run->result = run_execute(run, runs->block, &run->err);
    pthread_mutex_lock(&runs->lock);
    struct extents_run **link = &runs->running;
    while (*link != run)
        link = &(*link)->next;
    *link = run->next;
    run->has_ended = true;
    pthread_cond_signal(&run->ended);
    if (runs->queue)
        pthread_cond_broadcast(&runs->asked); /* one more of its directory */
}

static void *runs_work(void *arg)
{
    struct extent_runs *runs = arg;
    pthread_setname_np(pthread_self(), "extents");
    LOCK_GUARD(&runs->lock);
    for (;;) {
        struct extents_run **link = runs_next_locked(runs), *run = *link;
        if (!run && runs->is_ending)
            return NULL;
        if (!run) {
            runs->idle++;
            pthread_cond_wait(&runs->asked, &runs->lock);
            runs->idle--;
            continue;
        }
        *link = run->next;
        runs->queued_count--;
        if (!run->is_left)
            run_work_locked(runs, run);
        run_release_locked(run);
    }
}

/* ---- life ---- */

struct extent_runs *extent_runs_new(struct block *block, struct err *err)
{
    struct extent_runs *runs = calloc(1, sizeof(*runs));
    if (!runs) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for changed extents");
        return NULL;
    }
    runs->block = block;
    pthread_mutex_init(&runs->lock, NULL);
    pthread_cond_init(&runs->asked, NULL);
    return runs;
}

void extent_runs_close(struct extent_runs *runs)
{
    pthread_mutex_lock(&runs->lock);
    runs->is_ending = true;
    pthread_cond_broadcast(&runs->asked);
    pthread_mutex_unlock(&runs->lock);
    for (unsigned i = 0; i < runs->thread_count; i++)
        pthread_join(runs->threads[i], NULL);
    assert(!runs->queue && !runs->running && runs->calls == 0);
    pthread_cond_destroy(&runs->asked);
    pthread_mutex_destroy(&runs->lock);
    free(runs);
}

/* ---- a call ---- */

/* Hands the run to a thread; the call has a reference then. */
static int run_start_locked(struct extent_runs *runs, struct extents_run *run, struct err *err)
{
    if (directory_is_stuck_locked(runs, run->directory))
        return err_set(err, ErrDeadlineExceeded, 0, "the storage of '%s' does not answer",
                       run->name);
    if (runs->calls == EXTENT_CALLS_MAX)
        return err_set(err, ErrOutOfResources, 0, "%d calls list extents; try again",
                       EXTENT_CALLS_MAX);
    if (runs->queued_count >= runs->idle && runs->thread_count < THREADS_MAX &&
        pthread_create(&runs->threads[runs->thread_count], NULL, runs_work, runs) == 0)
        runs->thread_count++;
    if (runs->thread_count == 0)
        return err_set(err, ErrOutOfResources, 0, "there is no thread for extents; try again");
    struct extents_run **end = &runs->queue;
    while (*end)
        end = &(*end)->next;
    *end = run;
    run->users = 2;
    runs->queued_count++;
    runs->calls++;
    pthread_cond_signal(&runs->asked);
    return 0;
}

/* Takes the page, if it comes in time. */
static int run_await_locked(struct extent_runs *runs, struct extents_run *run,
                            struct extents_page *page, struct err *err)
{
    const uint64_t until_us = clock_monotonic_us() + EXTENT_WAIT_MAX_MS * 1000ULL;
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000 * 1000)};
    int ret = 0;
    while (!run->has_ended && ret == 0)
        ret = pthread_cond_clockwait(&run->ended, &runs->lock, CLOCK_MONOTONIC, &until);
    run->is_left = true;
    runs->calls--;
    if (!run->has_ended)
        return err_set(err, ErrDeadlineExceeded, 0,
                       "the extents of '%s' could not be listed within %d ms", run->name,
                       EXTENT_WAIT_MAX_MS);
    if (run->result != 0)
        *err = run->err;
    else
        *page = run->page;
    run->page = (struct extents_page){.items = run->result == 0 ? NULL : run->page.items};
    return run->result;
}

/* Finds the group's frozen member of the device: the name of its export and, unless `image` is
 * NULL, the path of its image (heap). */
static int member_find(struct service *service, const char *group, const char *device,
                       char name[EXPORT_BYTES], char **image, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (snapshot_groups_get(service, group, &row, err) != 0)
        return -1;
    if (row.state == GROUP_DELETING)
        return err_set(err, ErrGroupDeleting, 0, "snapshot group '%s' is being deleted", row.name);
    struct member_row *member = row.members;
    while (member < row.members + row.member_count && strcmp(member->device, device) != 0)
        member++;
    if (member == row.members + row.member_count || !member_is_frozen(&row, member))
        return err_set(err, ErrDeviceNotFound, 0, "snapshot group '%s' has no frozen member '%s'",
                       row.name, device);
    snprintf(name, EXPORT_BYTES, "%s@%s", device, row.id);
    if (image)
        *image = steal(member->backing_file);
    return 0;
}

static int run_fill(struct extents_run *run, struct service *service,
                    const struct extents_request *request, struct err *err)
{
    run->offset = request->offset;
    run->limit = request->limit;
    if (member_find(service, request->group, request->device, run->name, &run->directory, err) !=
            0 ||
        (request->since &&
         member_find(service, request->since, request->device, run->older, NULL, err) != 0))
        return -1;
    *strrchr(run->directory, '/') = '\0'; /* paths of rows are absolute */
    return 0;
}

int extents_get(struct service *service, const struct extents_request *request,
                struct extents_page *page, struct err *err)
{
    struct extent_runs *runs = service->extent_runs;
    struct extents_run *run = calloc(1, sizeof(*run));
    if (!run)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for changed extents");
    pthread_cond_init(&run->ended, NULL);
    if (run_fill(run, service, request, err) != 0) {
        run_free(run);
        return -1;
    }
    LOCK_GUARD(&runs->lock);
    if (run_start_locked(runs, run, err) != 0) {
        run_free(run);
        return -1;
    }
    int ret = run_await_locked(runs, run, page, err);
    run_release_locked(run);
    return ret;
}
