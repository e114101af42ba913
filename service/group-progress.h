/* SPDX-License-Identifier: Apache-2.0
 *
 * The progress of a group, as its call and its deadline see it while another thread runs it.
 *
 *   BEGUN --row `preparing`--> RECORDED --in time--> DECIDED --> CUT --> ENDED
 *     |                           |                     |                 ^  ^
 *     |                           |                     +-----------------+  |
 *     +------- deadline ----------+--> EXPIRED --row--> ABANDONED -----------+
 *
 * The deadline and the point of no return exclude each other: a group that is DECIDED never
 * expires, and one that is EXPIRED never commits. It is CUT once that is recorded because members
 * are not frozen yet; the call waits for them until the settle time is over. BEGUN and RECORDED may
 * also end at once, by an error.
 */
#ifndef SERVICE_GROUP_PROGRESS_H
#define SERVICE_GROUP_PROGRESS_H

#include "base/err.h"
#include "store/groups.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum group_stage {
    GROUP_STAGE_BEGUN,
    GROUP_STAGE_RECORDED,
    GROUP_STAGE_DECIDED,
    GROUP_STAGE_CUT,
    GROUP_STAGE_EXPIRED,
    GROUP_STAGE_ABANDONED,
    GROUP_STAGE_ENDED,
};

struct group_progress {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum group_stage stage;         /* lock */
    bool was_recorded, has_expired; /* lock; they stay */
    char id[STORE_ID_CHARS + 1];
    uint64_t deadline_us;     /* monotonic */
    uint64_t limit_ms;        /* for messages: the deadline as it was given */
    uint64_t settle_ms;       /* how long the call waits for frozen members after the cut, */
    uint64_t settle_until_us; /* lock; monotonic: until then; once the group is about to be CUT */
    bool keeps_row;           /* `row` is filled before the group is RECORDED, and the call */
    uint64_t wait_us;         /* waits so long for the end, from `begun_us` on */
    uint64_t begun_us;        /* monotonic */
    struct group_row row;     /* the runner's until then, afterwards constant */
};

/* `deadline_ms` from now. The others: see struct group_wait. */
void group_progress_init(struct group_progress *progress, uint64_t deadline_ms, uint64_t settle_ms,
                         int64_t wait_s);
void group_progress_clear(struct group_progress *progress);

/* ---- the thread that runs the group; a NULL progress has no deadline ---- */

/* The row says `preparing`. -1: DeadlineExceeded, as for the next one. */
int group_progress_record(struct group_progress *progress, struct err *err);

/* Before the point of no return. */
int group_progress_decide(struct group_progress *progress, struct err *err);

/* Whether the group has expired; then *err is DeadlineExceeded, else as before. */
bool group_progress_explain(struct group_progress *progress, struct err *err);

/* The cut is made: the settle time begins. Returns that; without a progress UINT64_MAX. */
uint64_t group_progress_settle(struct group_progress *progress);

/* The cut is recorded, or cannot be now; idempotent. */
void group_progress_cut(struct group_progress *progress);

void group_progress_end(struct group_progress *progress);

/* ---- others ---- */

/* Once the deadline has passed: whether the group expired. */
bool group_progress_expire(struct group_progress *progress);

/* The row of the expired group says that it is aborted. */
void group_progress_abandon(struct group_progress *progress);

/* Waits for ABANDONED or ENDED and returns it; CUT at the end of the settle time; if the row is
 * kept, RECORDED or CUT once the group was recorded and `wait_us` have passed. EXPIRED, if the
 * store hangs. */
enum group_stage group_progress_await(struct group_progress *progress);

#endif
