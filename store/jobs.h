/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `jobs`: long work, and what came of it. See store.h for the rules of queries. The parts
 * of a job are in merges.h.
 *
 *   queued <--> running --> done
 *     |  ^         |  +---> failed      (queued may fail, too)
 *     v  |         |
 *    paused <------+        queued, running and paused --> cancelled
 *
 * A restart goes on with what is queued or running. A job that has finished stays for
 * STORE_JOB_DAYS_MAX. A copy's file has a state of its own:
 *
 *   none --> staged --> whole --> none     the job is done; from `whole` on it is not stopped
 *     ^         |          |
 *     +---------+----------+               it has failed, or was cancelled, and the file is gone
 */
#ifndef STORE_JOBS_H
#define STORE_JOBS_H

#include "base/err.h"
#include "store/limits.h"
#include "store/merges.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_transaction;

enum job_kind {
    JOB_DELETE, /* of a group */
    JOB_COPY,   /* of a frozen member, to a file without backing */
};

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_DONE, /* this and those below have finished */
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_STATES,
};

/* Of a copy. */
enum job_file_state {
    JOB_FILE_NONE,
    JOB_FILE_STAGED, /* it may exist, under its first name */
    JOB_FILE_WHOLE,  /* it is durable, and gets its name */
};

struct job_row {
    char id[STORE_ID_CHARS + 1];
    enum job_kind kind;
    enum job_state state;
    char *group_id; /* or NULL */
    char *device;   /* the only one that it is about, or NULL */
    char *spec;     /* JSON object: what was asked; opaque here */
    char *kept; /* JSON array: images that stay, and why; opaque here; '[]' until it is planned */
    uint64_t total_bytes, done_bytes;
    enum job_file_state file_state;
    uint64_t offset_bytes;          /* of a staged file: where to go on; 0: it is to be made anew */
    uint64_t rate_bytes_per_second; /* 0: no limit */
    uint64_t created_at_us;
    bool has_finished;
    uint64_t finished_at_us;
    bool has_error; /* of a failed job */
    enum err_code error_code;
    int error_errnum;
    char *error_message;
    uint64_t sequence; /* given by insert; of two jobs the later one has the larger */
    uint64_t revision; /* as of a group */
    size_t merge_count;
    struct merge_row *merges; /* in the order of their insertion; recorded by merges.h */
};

const char *job_kind_name(enum job_kind kind);        /* "delete" and so on */
const char *job_state_name(enum job_state state);     /* "queued" and so on */
enum job_state job_state_from_name(const char *name); /* or JOB_STATES */
bool job_state_is_finished(enum job_state state);

void job_row_clear(struct job_row *row);
void job_rows_free(struct job_row *rows, size_t count);

/* Inserts a job in state JOB_QUEUED, without merges. Deletes a few finished jobs that are too many
 * or too old. */
int store_job_insert(struct store_transaction *transaction, const struct job_row *row,
                     struct err *err);

/* Each of these changes the job with row->id, and counts up its revision. 1; 0: the change is not
 * one of the diagram, or the job is gone; -1: *err. */

/* To row->state; a job that finishes gets finished_at_us, done_bytes and its error of the row, but
 * one that is cancelled keeps its done_bytes; one that is done file_state, too. */
int store_job_update_state(struct store_transaction *transaction, const struct job_row *row,
                           struct err *err);

/* Whether the row still is of that revision. */
int store_job_check_revision(struct store_transaction *transaction, const struct job_row *row,
                             struct err *err);

/* rate_bytes_per_second, of a job that has not finished. */
int store_job_update_rate(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err);

/* total_bytes and kept, of a job that has not finished: its merges are inserted along with it. */
int store_job_update_plan(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err);

/* done_bytes, likewise, and of one that was cancelled and has not stopped yet; along with it goes a
 * merge's offset. */
int store_job_update_progress(struct store_transaction *transaction, const struct job_row *row,
                              struct err *err);

/* file_state, with offset_bytes and done_bytes: to JOB_FILE_STAGED, of a job that has not finished;
 * to JOB_FILE_WHOLE, while it is running; to JOB_FILE_NONE, of one that has finished. */
int store_job_update_file(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err);

/* By id. 1: *row, with its merges; 0: there is none; -1: *err; so the next two. */
int store_job_get(struct store *store, const char *id, struct job_row *row, struct err *err);

/* The last one that deletes a group. */
int store_job_get_of_group(struct store *store, const char *group_id, struct job_row *row,
                           struct err *err);

/* The oldest copy of a group that has not finished. */
int store_job_get_copy(struct store *store, const char *group_id, struct job_row *row,
                       struct err *err);

/* The oldest job that has finished, but whose file is not JOB_FILE_NONE, or that is one of the
 * copies that finished last, of those later than `after`. */
int store_job_next_file(struct store *store, uint64_t after, struct job_row *row, struct err *err);

/* The oldest job that has finished, and has a merge that is MERGE_REDIRECTED, of those later than
 * `after`. */
int store_job_next_left(struct store *store, uint64_t after, struct job_row *row, struct err *err);

/* The oldest job in that state of those later than `after` (a `sequence`; 0: of all). */
int store_job_next(struct store *store, enum job_state state, uint64_t after, struct job_row *row,
                   struct err *err);

/* Newest first, up to `limit` jobs in `state` (JOB_STATES: in any) with a sequence below `before`
 * (0: from the newest); fewer, if they take more than a page may. *next: the `before` that goes on;
 * 0: there are no more. *rows is heap; free with job_rows_free. */
int store_job_list(struct store *store, enum job_state state, uint64_t before, size_t limit,
                   struct job_row **rows, size_t *count, uint64_t *next, struct err *err);

#endif
