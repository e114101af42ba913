/* SPDX-License-Identifier: Apache-2.0
 *
 * See jobs.h.
 *
 *   each thread:  await --> the oldest running job, else the oldest queued one, --> running
 *                           that has no tree in common with a job that another thread runs
 *                 --> deletes_run, copies_run --> done or failed; told to stop: as it was changed
 *
 * Whoever pauses or cancels a running job changes its row first, then tells it to stop: so a job
 * that ends at that moment ends as one of both, and the store decides (its states never go back).
 */
#include "service/jobs.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/copies.h"
#include "service/delete-run.h"
#include "service/deletes.h"
#include "service/job-control.h"
#include "service/job-work.h"
#include "service/left-files.h"
#include "service/metrics.h"
#include "service/names.h"
#include "service/unsettled.h"
#include "store/groups.h"
#include "store/job-conflicts.h"
#include "store/merges.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

enum {
    STORE_WAIT_MS = 1000,
    RUNNING_BYTES = JOBS_BEGUN_MAX * (STORE_ID_CHARS + 3) + 3, /* ids as a JSON array */
};

/* What a start does before, which may wait for storage, is a run like a job's. */
static const char JOB_OF_START[] = "of the start";

/* For SYS_ioprio_set: this thread, best effort, the lowest level. */
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_LOWEST = 2 << 13 | 7 };

struct job_thread {
    struct jobs *jobs;
    size_t number;
    pthread_t thread;
};

struct jobs {
    struct service *service;
    struct job_control control;
    pthread_mutex_t choice_lock; /* one thread at a time looks for a job, until it runs; taken
                                  * before job_control's */
    struct job_thread threads[JOBS_BEGUN_MAX];
    size_t thread_count; /* these two: choice_lock */
};

static enum event_kind job_event(enum job_state state)
{
    static const enum event_kind kinds[JOB_STATES] = {
        [JOB_QUEUED] = EVENT_JOB_QUEUED, [JOB_RUNNING] = EVENT_JOB_RUNNING,
        [JOB_PAUSED] = EVENT_JOB_PAUSED, [JOB_DONE] = EVENT_JOB_DONE,
        [JOB_FAILED] = EVENT_JOB_FAILED, [JOB_CANCELLED] = EVENT_JOB_CANCELLED,
    };
    return kinds[state];
}

static void job_count(struct metrics *metrics, enum job_state state)
{
    if (state == JOB_DONE)
        metrics_count_job(metrics, JOB_OUTCOME_DONE);
    else if (state == JOB_FAILED)
        metrics_count_job(metrics, JOB_OUTCOME_FAILED);
    else if (state == JOB_CANCELLED)
        metrics_count_job(metrics, JOB_OUTCOME_CANCELLED);
}

/* The group of a job that is done, unless it was deleted before (delete_replan()). */
static int group_record_deleted(struct service *service, struct store_transaction *transaction,
                                const struct job_row *row, const struct origin *origin,
                                struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    struct group_row deleted = {.state = GROUP_DELETED};
    memcpy(deleted.id, row->group_id, sizeof(deleted.id));
    if (store_group_get(service->store, row->group_id, &now, err) != 0)
        return -1;
    if (now.state == GROUP_DELETED)
        return 0;
    return store_group_update_deleted(transaction, &deleted, err) != 0
               ? -1
               : event_record(transaction, origin, EVENT_GROUP_DELETED, NULL, deleted.id, err);
}

/* The row's state, with its event. 1; 0: it is in another state by now; -1. */
static int state_record(struct service *service, struct store_transaction *transaction,
                        const struct job_row *row, const struct origin *origin, struct err *err)
{
    int changed = store_job_update_state(transaction, row, err);
    if (changed <= 0)
        return changed;
    if (event_record_job(transaction, origin, job_event(row->state), row->id, row->group_id, err) !=
        0)
        return -1;
    if (row->state == JOB_DONE && row->kind == JOB_DELETE &&
        group_record_deleted(service, transaction, row, origin, err) != 0)
        return -1;
    return 1;
}

/* The same, in a commit of its own. */
static int job_write(struct service *service, const struct job_row *row,
                     const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? state_record(service, transaction, row, origin, err) : -1;
    if (changed <= 0)
        return changed;
    if (store_commit(steal(transaction), err) != 0)
        return -1;
    job_count(service->metrics, row->state);
    return 1;
}

/* ---- threads ---- */

static void job_fail(struct job_row *row, const struct err *cause)
{
    row->state = JOB_FAILED;
    row->has_error = true;
    row->error_code = cause->code;
    row->error_errnum = cause->errnum;
    free(row->error_message);
    row->error_message = strdup(cause->message);
}

/* A merge that it has left, since the device was detached, if that was attached again meanwhile. */
static void job_replan(struct service *service, const struct job_row *row)
{
    struct err ignored;
    for (size_t i = 0; row->state == JOB_DONE && i < row->merge_count; i++)
        if (row->merges[i].stage == MERGE_COPYING &&
            store_plan_is_due(service->store, row->merges[i].base, &ignored) > 0)
            delete_replan_later(service, row->merges[i].base);
}

/* *err: why it failed. -1: that is not recorded, for which *err is the reason now. */
static int job_end(struct service *service, struct job_row *row, int result, struct err *err)
{
    const struct err cause = *err;
    if (result == 0)
        row->state = JOB_DONE;
    else
        job_fail(row, &cause);
    row->has_finished = true;
    row->finished_at_us = clock_now_us();
    if (job_write(service, row, &origin_daemon, err) < 0)
        return -1;
    if (result != 0)
        log_error("job %s failed: %s", row->id, cause.message);
    else
        log_info("job %s is done", row->id);
    left_files_keep(service, row);
    job_replan(service, row);
    return 0;
}

/* Reads the row, once the job that runs has the rate which that has: of two changes at once, the
 * one that was recorded last. 1; 0: there is no such job; -1. */
static int job_read(struct service *service, struct job_row *row, struct err *err)
{
    uint64_t rate;
    do {
        struct job_row now;
        rate = row->rate_bytes_per_second;
        job_control_set_rate(service->job_control, row->id, rate);
        int found = store_job_get(service->store, row->id, &now, err);
        if (found <= 0)
            return found;
        job_row_clear(row);
        *row = now;
    } while (row->rate_bytes_per_second != rate);
    return 1;
}

/* Others reach the job from now on; what they changed before is read. A job that was begun before
 * goes on only while the store takes changes: what it copied could not be recorded, and would be
 * copied again. 1; 0: it is not to run any more; -1. */
static int job_claim(struct service *service, struct job_row *row, struct err *err)
{
    int found = job_read(service, row, err);
    if (found <= 0)
        return found;
    if (row->state != JOB_QUEUED)
        return row->state == JOB_RUNNING
                   ? job_work_record(service, row, store_job_update_progress, err)
                   : 0;
    row->state = JOB_RUNNING;
    return job_write(service, row, &origin_daemon, err);
}

static int job_carry_out(struct service *service, struct job_row *row, struct err *err)
{
    return row->kind == JOB_COPY ? copies_run(service, row, err) : deletes_run(service, row, err);
}

static void job_run(struct service *service, struct job_row *row)
{
    struct err err = {0};
    struct job_control *control = service->job_control;
    int claimed = job_claim(service, row, &err);
    int result = claimed > 0 ? job_carry_out(service, row, &err) : claimed < 0 ? -1 : 1;
    bool waits = result < 0 && (claimed < 0 || err_is_of_store(&err));
    if (result <= 0 && !waits)
        waits = job_end(service, row, result, &err) != 0;
    if (waits) {
        log_warning("job %s waits for the store: %s", row->id, err.message);
        job_control_sleep(control, STORE_WAIT_MS);
    }
    do {
        job_control_hear(control);
        if (row->kind == JOB_COPY)
            copies_settle(service, row->id);
    } while (!job_control_finish(control));
}

/* The ids of the jobs that threads have, as a JSON array. */
static void jobs_format_running(struct jobs *jobs, char text[RUNNING_BYTES])
{
    char running[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1];
    size_t count = job_control_list(&jobs->control, running), length = 0;
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, RUNNING_BYTES - length, "%c\"%s\"",
                                   i == 0 ? '[' : ',', running[i]);
    snprintf(text + length, RUNNING_BYTES - length, count ? "]" : "[]");
}

/* The oldest one in that state that can run: the calling thread has it. 1; 0: there is none; -1. */
static int job_begin_in(struct jobs *jobs, enum job_state state, struct job_row *row,
                        struct err *err)
{
    char running[RUNNING_BYTES], id[STORE_ID_CHARS + 1];
    jobs_format_running(jobs, running);
    int found = store_job_find_free(jobs->service->store, job_state_name(state), running, id, err);
    if (found <= 0)
        return found;
    job_row_clear(row);
    found = store_job_get(jobs->service->store, id, row, err);
    return found > 0 ? job_control_begin(&jobs->control, row->id, row->rate_bytes_per_second)
                     : found;
}

static int jobs_add_thread(struct jobs *jobs);

static int job_begin(struct jobs *jobs, struct job_row *row, struct err *err)
{
    char running[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1];
    LOCK_GUARD(&jobs->choice_lock);
    int found = job_begin_in(jobs, JOB_RUNNING, row, err);
    if (found == 0)
        found = job_begin_in(jobs, JOB_QUEUED, row, err);
    if (found > 0 && jobs->thread_count < JOBS_BEGUN_MAX &&
        job_control_list(&jobs->control, running) == jobs->thread_count)
        (void)jobs_add_thread(jobs); /* else the next one that begins adds it */
    return found;
}

static void jobs_settle_start(struct jobs *jobs)
{
    if (!job_control_begin(&jobs->control, JOB_OF_START, 0))
        return; /* the daemon ends */
    copies_settle_all(jobs->service);
    (void)job_control_finish(&jobs->control);
}

static void *jobs_work(void *arg)
{
    const struct job_thread *self = arg;
    struct jobs *jobs = self->jobs;
    uint64_t seen = 0;
    pthread_setname_np(pthread_self(), self->number == 0 ? "jobs" : "more-jobs");
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LOWEST);
    if (self->number == 0)
        jobs_settle_start(jobs);
    while (job_control_await(&jobs->control, self->number, &seen)) {
        struct err err;
        CLEANUP_BY(job_row_clear) struct job_row row = {0};
        int found = unsettled_resolve(jobs->service, &err);
        if (found == 0)
            found = job_begin(jobs, &row, &err);
        if (found > 0)
            job_run(jobs->service, &row);
        if (found < 0) {
            log_error("jobs cannot be read: %s; it is tried again", err.message);
            job_control_rest(&jobs->control, STORE_WAIT_MS);
            job_control_wake(&jobs->control);
        }
    }
    return NULL;
}

/* ---- life ---- */

static struct jobs *jobs_init(struct service *service)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    if (jobs) {
        jobs->service = service;
        job_control_init(&jobs->control);
        pthread_mutex_init(&jobs->choice_lock, NULL);
        service->job_control = &jobs->control;
    }
    return jobs;
}

static int jobs_add_thread(struct jobs *jobs)
{
    struct job_thread *added = &jobs->threads[jobs->thread_count];
    *added = (struct job_thread){.jobs = jobs, .number = jobs->thread_count};
    if (pthread_create(&added->thread, NULL, jobs_work, added) != 0)
        return -1;
    jobs->thread_count++;
    return 0;
}

struct jobs *jobs_new(struct service *service, struct err *err)
{
    struct jobs *jobs = jobs_init(service);
    if (jobs) {
        LOCK_GUARD(&jobs->choice_lock);
        while (jobs->thread_count < JOBS_RUNNING_MAX && jobs_add_thread(jobs) == 0)
            continue;
        if (jobs->thread_count == JOBS_RUNNING_MAX)
            return jobs;
    }
    (void)jobs_close(jobs);
    err_set(err, ErrOutOfResources, 0, "there is no memory or no thread for jobs");
    return NULL;
}

/* None is added once the end has come. */
static size_t jobs_thread_count(struct jobs *jobs)
{
    LOCK_GUARD(&jobs->choice_lock);
    return jobs->thread_count;
}

static void jobs_leave(struct jobs *jobs)
{
    char running[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1];
    size_t count = job_control_list(&jobs->control, running);
    for (size_t i = 0; i < count; i++)
        log_warning("the storage of job %s does not answer: ending without it; the next start goes "
                    "on with it",
                    running[i]);
    const size_t thread_count = jobs_thread_count(jobs);
    for (size_t i = 0; i < thread_count; i++)
        pthread_detach(jobs->threads[i].thread);
}

bool jobs_close(struct jobs *jobs)
{
    if (!jobs)
        return true;
    job_control_end(&jobs->control);
    if (!job_control_await_end(&jobs->control)) {
        jobs_leave(jobs);
        return false;
    }
    const size_t thread_count = jobs_thread_count(jobs);
    for (size_t i = 0; i < thread_count; i++)
        pthread_join(jobs->threads[i].thread, NULL);
    job_control_clear(&jobs->control);
    pthread_mutex_destroy(&jobs->choice_lock);
    free(jobs);
    return true;
}

/* ---- others ---- */

int jobs_get(struct service *service, const char *id, struct job_row *row, struct err *err)
{
    *row = (struct job_row){0};
    int found = strlen(id) == STORE_ID_CHARS ? store_job_get(service->store, id, row, err) : 0;
    return found > 0   ? 0
           : found < 0 ? -1
                       : err_set(err, ErrJobNotFound, 0, "there is no job of that id");
}

static int job_check(const struct job_row *row, const struct job_change *change, struct err *err)
{
    if (condition_check(change->condition, row->id, row->revision, err) != 0)
        return -1;
    if (job_state_is_finished(row->state))
        return err_set(err, ErrJobFinished, 0, "job '%s' is %s", row->id,
                       job_state_name(row->state));
    return change->has_state && row->file_state == JOB_FILE_WHOLE
               ? err_set(err, ErrJobFinished, 0, "job '%s' is complete, and ends now", row->id)
               : 0;
}

/* The state to which a wish leads: a paused job is queued again. */
static enum job_state job_wanted(const struct job_row *row, const struct job_change *change)
{
    if (change->state != JOB_RUNNING)
        return change->state;
    return row->state == JOB_PAUSED ? JOB_QUEUED : row->state;
}

/* In one commit. 1: done; 0: the job was changed meanwhile; -1. */
static int change_record(struct service *service, const struct job_row *row, bool has_state,
                         const struct job_change *change, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? 1 : -1;
    if (changed > 0 && change->condition)
        changed = store_job_check_revision(transaction, row, err);
    if (changed > 0 && change->has_rate)
        changed = store_job_update_rate(transaction, row, err);
    if (changed > 0 && has_state)
        changed = state_record(service, transaction, row, change->origin, err);
    if (changed <= 0)
        return changed;
    return store_commit(steal(transaction), err) == 0 ? 1 : -1;
}

/* After a change of state is recorded. */
static void state_tell(struct service *service, const struct job_row *row)
{
    job_count(service->metrics, row->state);
    if (row->state == JOB_QUEUED)
        job_control_wake(service->job_control);
    else if (!job_control_stop(service->job_control, row->id) && row->state == JOB_CANCELLED &&
             row->kind == JOB_COPY)
        copies_settle_briefly(service, row);
}

/* Fills in what is wanted. Whether the job gets another state. */
static bool change_apply(const struct job_change *change, struct job_row *row)
{
    enum job_state before = row->state;
    if (change->has_rate)
        row->rate_bytes_per_second = change->rate_bytes_per_second;
    if (change->has_state)
        row->state = job_wanted(row, change);
    row->has_finished = row->state == JOB_CANCELLED;
    row->finished_at_us = clock_now_us();
    return row->state != before;
}

/* 1: done; 0: the job was changed meanwhile; -1. */
static int change_try(struct service *service, const char *id, const struct job_change *change,
                      struct err *err)
{
    struct err ignored; /* the rate is told then, too */
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    if (jobs_get(service, id, &row, err) != 0 || job_check(&row, change, err) != 0)
        return -1;
    bool has_state = change_apply(change, &row);
    if (!has_state && !change->has_rate)
        return 1;
    int done = change_record(service, &row, has_state, change, err);
    if (done > 0 && has_state)
        state_tell(service, &row);
    if (done > 0 && change->has_rate)
        (void)job_read(service, &row, &ignored);
    return done;
}

int jobs_change(struct service *service, const char *id, const struct job_change *change,
                struct job_row *row, struct err *err)
{
    int done = 0;
    *row = (struct job_row){0};
    while (done == 0)
        done = change_try(service, id, change, err);
    return done > 0 ? jobs_get(service, id, row, err) : -1;
}
