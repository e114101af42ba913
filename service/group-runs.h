/* SPDX-License-Identifier: Apache-2.0
 *
 * Running groups: each on a thread of a bounded set, so that its call can return before the group
 * has ended: at once if it was asked to, or at the deadline, however long storage hangs. A client
 * that hangs up changes nothing: the group goes on, and its outcome is in its row.
 *
 * A run belongs to its thread and to its call; the last one to release it frees it. Threads stay
 * for later runs, and end with group_runs_close(). Any thread.
 */
#ifndef SERVICE_GROUP_RUNS_H
#define SERVICE_GROUP_RUNS_H

#include "base/cleanup.h"
#include "service/group-progress.h"
#include "service/limits.h"
#include "service/snapshot-groups.h"

struct service;
struct group_run;
struct group_runs;

/* How long a group may take until its point of no return; at most GROUP_DEADLINE_MAX_MS. */
#define GROUP_DEADLINE_DEFAULT_MS 60000

/* How long a call waits for frozen members after the cut; at most GROUP_SETTLE_MAX_MS. */
#define GROUP_SETTLE_DEFAULT_MS 10000

/* NULL and *err (OutOfResources). */
struct group_runs *group_runs_new(struct service *service, struct err *err);

/* Waits for all runs. The caller starts no more. NULL: nothing. */
void group_runs_close(struct group_runs *runs);

/* How long a call waits. */
struct group_wait {
    uint64_t deadline_ms; /* until the point of no return; then the group is aborted */
    uint64_t settle_ms;   /* from the cut on, for frozen members; then the call returns */
    int64_t wait_s;       /* if the group is recorded by then the call returns; or: */
};
#define GROUP_WAIT_FOREVER (-1)

/* Starts a run of a copy of the request. NULL and *err (OutOfResources): nothing has happened. */
struct group_run *group_run_start(struct group_runs *runs,
                                  const struct snapshot_group_request *request,
                                  const struct group_wait *wait, struct err *err);

enum group_awaited {
    GROUP_AWAITED_FAILED = -1,
    GROUP_AWAITED_END,
    GROUP_AWAITED_RECORD,
    GROUP_AWAITED_CUT,
};

/*
 * Waits. END: the group is committed, *row is its row; or, of a dry run, the plan. RECORD: the
 * group is recorded and goes on, *row says `preparing`. CUT: it is cut, its row says so unless the
 * store fails, it goes on; *row has the id. FAILED and *err as of snapshot_groups_take(), *row is
 * what is known of the attempt; or DeadlineExceeded, *row has the id, and the rest happens in the
 * background. `row` belongs to the run.
 */
enum group_awaited group_run_await(struct group_run *run, const struct group_row **row,
                                   struct err *err);

/* Whether one is running or queued. */
bool group_runs_is_busy(struct group_runs *runs);

void group_run_release(struct group_run *run);
CLEANUP_DEFINE(group_run, struct group_run *, group_run_release)

#endif
