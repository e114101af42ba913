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

/* NULL and *err (OutOfResources). */
struct group_runs *group_runs_new(struct service *service, struct err *err);

/* Waits for all runs. The caller starts no more. */
void group_runs_close(struct group_runs *runs);

/* Starts a run of a copy of the request. `wait_s`: the call is to return once the group is recorded
 * and so many seconds have passed without its end; GROUP_WAIT_FOREVER: at the end only. NULL and
 * *err (OutOfResources): nothing has happened. */
#define GROUP_WAIT_FOREVER (-1)
struct group_run *group_run_start(struct group_runs *runs,
                                  const struct snapshot_group_request *request,
                                  uint64_t deadline_ms, int64_t wait_s, struct err *err);

/*
 * Waits. 0: the group is committed, *row is its row; or, of a dry run, the plan. 1, if the row is
 * kept: the group is recorded and goes on, *row says `preparing`. -1 and *err as of
 * snapshot_groups_take(), *row is what is known of the attempt; or DeadlineExceeded, *row has the
 * id, and the rest happens in the background. `row` belongs to the run.
 */
int group_run_await(struct group_run *run, const struct group_row **row, struct err *err);

void group_run_release(struct group_run *run);
CLEANUP_DEFINE(group_run, struct group_run *, group_run_release)

#endif
