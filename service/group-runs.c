/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-runs.h.
 *
 *   group_run_start --> queue --> a thread: snapshot_groups_take() --> ENDED
 *                         \
 *                          +----> deadlines' thread: EXPIRED, row `aborting`, ABANDONED
 *
 * Invariants:
 *   I1. A run that is queued has a thread that is idle, or about to be: no run waits for another
 *       one's storage.
 *   I2. A run is in `active` from start to end; only the deadlines' thread sets `is_checked`.
 */
#include "service/group-runs.h"

#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"
#include "service/events.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct group_run {
    struct group_runs *runs;
    struct group_run *next_queued, *next_active; /* runs->lock, like the next three */
    unsigned users;
    bool is_checked; /* the deadline has passed and was dealt with */
    bool is_left;    /* its call has returned */
    struct memory_share memory;
    struct snapshot_group_request request;
    struct group_member *members;
    struct group_base *bases; /* of a rollback, one of each member */
    char *texts;              /* of request, members and bases */
    struct origin origin;
    struct group_progress progress;
    int result; /* these three: the thread's, constant after the end */
    struct group_row row;
    struct err err;
    struct group_row abandoned; /* the id only */
};

struct group_runs {
    struct service *service;
    pthread_mutex_t lock;
    pthread_cond_t queued;    /* the queue has grown, or the end has come */
    pthread_cond_t deadlines; /* a run was started or has ended, or the end has come */
    struct group_run *queue, *active;
    unsigned queued_count, active_count, thread_count;
    unsigned busy; /* threads whose run has not ended */
    bool is_ending, is_watched;
    pthread_t watcher; /* if is_watched: the deadlines' thread */
    pthread_t threads[GROUP_RUNS_MAX];
};

/* ---- a run ---- */

static void run_free(struct group_run *run)
{
    group_progress_clear(&run->progress);
    group_row_clear(&run->row);
    memory_release(&run->memory);
    free(run->members);
    free(run->bases);
    free(run->texts);
    free(run);
}

static void run_release_locked(struct group_run *run)
{
    assert(run->users > 0);
    if (--run->users == 0)
        run_free(run);
}

void group_run_release(struct group_run *run)
{
    LOCK_GUARD(&run->runs->lock);
    run->is_left = true;
    run_release_locked(run);
}

bool group_runs_is_busy(struct group_runs *runs)
{
    LOCK_GUARD(&runs->lock);
    return runs->active_count > 0;
}

static int run_is_short(struct err *err)
{
    return err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Copies `text`, which may be NULL, to *at and moves that on. */
static char *text_copy(char **at, const char *text)
{
    if (!text)
        return NULL;
    char *copy = *at;
    *at = stpcpy(copy, text) + 1;
    return copy;
}

static size_t request_bytes(const struct snapshot_group_request *request)
{
    size_t bytes = text_bytes(request->name) + text_bytes(request->labels) +
                   text_bytes(request->selector) + text_bytes(request->rolled_back_to);
    for (const struct group_member *member = request->members;
         member < request->members + request->count; member++) {
        bytes += text_bytes(member->device) + text_bytes(member->snapshot_file) +
                 text_bytes(member->format);
        if (member->base)
            bytes += text_bytes(member->base->image) + text_bytes(member->base->format) +
                     text_bytes(member->base->identity);
    }
    return bytes;
}

static void base_copy(struct group_base *base, char **at, const struct group_base *from)
{
    base->image = text_copy(at, from->image);
    base->format = text_copy(at, from->format);
    base->identity = text_copy(at, from->identity);
    base->disconnects = from->disconnects;
}

static void request_copy(struct group_run *run, const struct snapshot_group_request *request)
{
    char *at = run->texts;
    for (size_t i = 0; i < request->count; i++) {
        const struct group_member *member = &request->members[i];
        run->members[i].device = text_copy(&at, member->device);
        run->members[i].snapshot_file = text_copy(&at, member->snapshot_file);
        run->members[i].format = text_copy(&at, member->format);
        run->members[i].size_bytes = member->size_bytes;
        if (member->base) {
            base_copy(&run->bases[i], &at, member->base);
            run->members[i].base = &run->bases[i];
        }
    }
    run->request = *request;
    run->request.members = run->members;
    run->request.name = text_copy(&at, request->name);
    run->request.labels = text_copy(&at, request->labels);
    run->request.selector = text_copy(&at, request->selector);
    run->request.rolled_back_to = text_copy(&at, request->rolled_back_to);
    run->origin = *request->origin;
    run->request.origin = &run->origin;
}

/* Memory for request_copy(), which is counted. */
static int run_allocate(struct group_run *run, const struct snapshot_group_request *request,
                        struct err *err)
{
    size_t bytes = request_bytes(request);
    size_t members_bytes = (request->count + 1) * sizeof(*run->members);
    size_t bases_bytes = request->rolled_back_to ? request->count * sizeof(*run->bases) : 0;
    if (memory_take(&run->memory, bytes + members_bytes + bases_bytes, err) != 0)
        return -1;
    run->texts = malloc(bytes + 1);
    run->members = calloc(1, members_bytes);
    run->bases = calloc(1, bases_bytes + 1);
    return run->texts && run->members && run->bases ? 0 : run_is_short(err);
}

static struct group_run *run_new(struct group_runs *runs,
                                 const struct snapshot_group_request *request,
                                 const struct group_wait *wait, struct err *err)
{
    struct group_run *run = calloc(1, sizeof(*run));
    if (!run) {
        run_is_short(err);
        return NULL;
    }
    run->runs = runs;
    run->memory.memory = &runs->service->memory;
    group_progress_init(&run->progress, wait->deadline_ms, wait->settle_ms, wait->wait_s);
    memcpy(run->abandoned.id, run->progress.id, sizeof(run->abandoned.id));
    if (run_allocate(run, request, err) != 0) {
        run_free(run);
        return NULL;
    }
    request_copy(run, request);
    return run;
}

/* ---- threads ---- */

/* If its call has returned, nobody else hears of it. */
static void run_log_end(const struct group_run *run)
{
    if (run->result == 0)
        log_info("group %s was committed after its call had returned", run->progress.id);
    else
        log_warning("group %s failed after its call had returned: %s", run->progress.id,
                    run->err.message);
}

static void run_leave_active_locked(struct group_run *run)
{
    struct group_run **at = &run->runs->active;
    while (*at != run)
        at = &(*at)->next_active;
    *at = run->next_active;
    run->runs->active_count--;
    pthread_cond_signal(&run->runs->deadlines);
}

static void run_execute(struct group_run *run)
{
    struct group_runs *runs = run->runs;
    log_set_request(run->origin.request_id);
    run->result = run->request.is_dry_run
                      ? snapshot_groups_plan(runs->service, &run->request, &run->row, &run->err)
                      : snapshot_groups_take(runs->service, &run->request, &run->progress,
                                             &run->row, &run->err);
    pthread_mutex_lock(&runs->lock);
    bool is_left = run->is_left;
    run_leave_active_locked(run); /* before the call returns: the next one finds this thread */
    runs->busy--;
    pthread_mutex_unlock(&runs->lock);
    if (is_left && !run->request.is_dry_run)
        run_log_end(run);
    log_set_request(NULL);
    group_progress_end(&run->progress);
}

static void *runs_work(void *arg)
{
    struct group_runs *runs = arg;
    pthread_setname_np(pthread_self(), "group-run");
    LOCK_GUARD(&runs->lock);
    for (;;) {
        struct group_run *run = runs->queue;
        if (!run && runs->is_ending)
            return NULL;
        if (!run) {
            condition_wait(&runs->queued, &runs->lock);
            continue;
        }
        runs->queue = run->next_queued;
        runs->queued_count--;
        runs->busy++;
        pthread_mutex_unlock(&runs->lock);
        run_execute(run);
        pthread_mutex_lock(&runs->lock);
        run_release_locked(run);
    }
}

/* ---- deadlines ---- */

/* The unchecked run whose deadline is the earliest, or NULL. */
static struct group_run *runs_earliest_locked(const struct group_runs *runs)
{
    struct group_run *earliest = NULL;
    for (struct group_run *run = runs->active; run; run = run->next_active)
        if (!run->is_checked &&
            (!earliest || run->progress.deadline_us < earliest->progress.deadline_us))
            earliest = run;
    return earliest;
}

static void run_check_locked(struct group_run *run)
{
    struct group_runs *runs = run->runs;
    assert(!run->is_checked); /* I2 */
    run->is_checked = true;
    run->users++;
    pthread_mutex_unlock(&runs->lock);
    if (group_progress_expire(&run->progress)) {
        if (!run->request.is_dry_run)
            snapshot_groups_abandon(runs->service, &run->progress);
        group_progress_abandon(&run->progress);
    }
    pthread_mutex_lock(&runs->lock);
    run_release_locked(run);
}

static void *runs_watch(void *arg)
{
    struct group_runs *runs = arg;
    pthread_setname_np(pthread_self(), "group-deadlines");
    LOCK_GUARD(&runs->lock);
    while (!runs->is_ending || runs->active) {
        struct group_run *run = runs_earliest_locked(runs);
        if (!run) {
            condition_wait(&runs->deadlines, &runs->lock);
        } else if (clock_monotonic_us() >= run->progress.deadline_us) {
            run_check_locked(run);
        } else {
            (void)condition_wait_until(&runs->deadlines, &runs->lock, run->progress.deadline_us);
        }
    }
    return NULL;
}

/* ---- starting and ending ---- */

struct group_runs *group_runs_new(struct service *service, struct err *err)
{
    struct group_runs *runs = calloc(1, sizeof(*runs));
    if (!runs) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for groups");
        return NULL;
    }
    runs->service = service;
    pthread_mutex_init(&runs->lock, NULL);
    pthread_cond_init(&runs->queued, NULL);
    pthread_cond_init(&runs->deadlines, NULL);
    return runs;
}

void group_runs_close(struct group_runs *runs)
{
    if (!runs)
        return;
    pthread_mutex_lock(&runs->lock);
    runs->is_ending = true;
    pthread_cond_broadcast(&runs->queued);
    pthread_cond_signal(&runs->deadlines);
    pthread_mutex_unlock(&runs->lock);
    for (unsigned i = 0; i < runs->thread_count; i++)
        pthread_join(runs->threads[i], NULL);
    if (runs->is_watched)
        pthread_join(runs->watcher, NULL);
    assert(!runs->active && !runs->queue);
    pthread_cond_destroy(&runs->deadlines);
    pthread_cond_destroy(&runs->queued);
    pthread_mutex_destroy(&runs->lock);
    free(runs);
}

/* Threads for one more run (I1). */
static int runs_grow_locked(struct group_runs *runs, struct err *err)
{
    if (runs->active_count == GROUP_RUNS_MAX)
        return err_set(err, ErrOutOfResources, 0, "%d snapshot groups are running; try again",
                       GROUP_RUNS_MAX);
    if (!runs->is_watched)
        runs->is_watched = pthread_create(&runs->watcher, NULL, runs_watch, runs) == 0;
    bool has_thread = runs->busy + runs->queued_count < runs->thread_count ||
                      runs->thread_count == GROUP_RUNS_MAX;
    if (!has_thread &&
        pthread_create(&runs->threads[runs->thread_count], NULL, runs_work, runs) == 0) {
        has_thread = true;
        runs->thread_count++;
    }
    if (!runs->is_watched || !has_thread)
        return err_set(err, ErrOutOfResources, 0, "there is no thread for the group; try again");
    return 0;
}

struct group_run *group_run_start(struct group_runs *runs,
                                  const struct snapshot_group_request *request,
                                  const struct group_wait *wait, struct err *err)
{
    struct group_run *run = run_new(runs, request, wait, err);
    if (!run)
        return NULL;
    LOCK_GUARD(&runs->lock);
    if (runs_grow_locked(runs, err) != 0) {
        run_free(run);
        return NULL;
    }
    struct group_run **end = &runs->queue;
    while (*end)
        end = &(*end)->next_queued;
    *end = run;
    run->next_active = runs->active;
    runs->active = run;
    runs->queued_count++;
    runs->active_count++;
    assert(runs->queued_count <= runs->thread_count); /* I1 */
    run->users = 2;
    pthread_cond_signal(&runs->queued);
    pthread_cond_signal(&runs->deadlines);
    return run;
}

enum group_awaited group_run_await(struct group_run *run, const struct group_row **row,
                                   struct err *err)
{
    struct group_progress *progress = &run->progress;
    enum group_stage stage = group_progress_await(progress);
    if (stage == GROUP_STAGE_RECORDED) {
        *row = &progress->row;
        return GROUP_AWAITED_RECORD;
    }
    if (stage != GROUP_STAGE_ENDED) {
        *row = &run->abandoned;
        if (stage == GROUP_STAGE_CUT)
            return GROUP_AWAITED_CUT;
        group_progress_explain(progress, err);
        return GROUP_AWAITED_FAILED;
    }
    *row = &run->row;
    if (run->result != 0)
        *err = run->err;
    return run->result == 0 ? GROUP_AWAITED_END : GROUP_AWAITED_FAILED;
}
