/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-progress.h.
 */
#include "service/group-progress.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/monotonic.h"
#include "service/names.h"

#include <assert.h>
#include <inttypes.h>

/* How long a call waits for the row of a group that has expired, in case that the store hangs. */
#define ABANDON_MAX_US 1000000

void group_progress_init(struct group_progress *progress, uint64_t deadline_ms, uint64_t settle_ms,
                         int64_t wait_s)
{
    *progress = (struct group_progress){.limit_ms = deadline_ms,
                                        .settle_ms = settle_ms,
                                        .keeps_row = wait_s >= 0,
                                        .wait_us = wait_s >= 0 ? (uint64_t)wait_s * 1000000 : 0,
                                        .begun_us = clock_monotonic_us()};
    pthread_mutex_init(&progress->lock, NULL);
    pthread_cond_init(&progress->changed, NULL);
    id_new(progress->id);
    progress->deadline_us = progress->begun_us + deadline_ms * 1000;
}

void group_progress_clear(struct group_progress *progress)
{
    group_row_clear(&progress->row);
    pthread_cond_destroy(&progress->changed);
    pthread_mutex_destroy(&progress->lock);
}

static void progress_enter_locked(struct group_progress *progress, enum group_stage stage)
{
    assert(stage > progress->stage && progress->stage != GROUP_STAGE_ENDED);
    assert(stage != GROUP_STAGE_EXPIRED || progress->stage < GROUP_STAGE_DECIDED);
    assert(stage != GROUP_STAGE_ABANDONED || progress->stage == GROUP_STAGE_EXPIRED);
    progress->stage = stage;
    progress->was_recorded |= stage == GROUP_STAGE_RECORDED;
    progress->has_expired |= stage == GROUP_STAGE_EXPIRED;
    pthread_cond_broadcast(&progress->changed);
}

/* Whether it has expired, or just does. */
static bool progress_check_locked(struct group_progress *progress)
{
    if (progress->stage < GROUP_STAGE_DECIDED && clock_monotonic_us() >= progress->deadline_us)
        progress_enter_locked(progress, GROUP_STAGE_EXPIRED);
    return progress->has_expired;
}

static int progress_fail(const struct group_progress *progress, struct err *err)
{
    return err_set(err, ErrDeadlineExceeded, 0,
                   "the group was not ready for its cut after %" PRIu64 " ms and froze nothing",
                   progress->limit_ms);
}

static int progress_step(struct group_progress *progress, enum group_stage stage, struct err *err)
{
    if (!progress)
        return 0;
    LOCK_GUARD(&progress->lock);
    if (progress_check_locked(progress))
        return progress_fail(progress, err);
    progress_enter_locked(progress, stage);
    return 0;
}

int group_progress_record(struct group_progress *progress, struct err *err)
{
    return progress_step(progress, GROUP_STAGE_RECORDED, err);
}

int group_progress_decide(struct group_progress *progress, struct err *err)
{
    return progress_step(progress, GROUP_STAGE_DECIDED, err);
}

bool group_progress_explain(struct group_progress *progress, struct err *err)
{
    if (!progress)
        return false;
    LOCK_GUARD(&progress->lock);
    if (progress->has_expired)
        progress_fail(progress, err);
    return progress->has_expired;
}

uint64_t group_progress_settle(struct group_progress *progress)
{
    if (!progress)
        return UINT64_MAX;
    LOCK_GUARD(&progress->lock);
    assert(progress->stage == GROUP_STAGE_DECIDED);
    progress->settle_until_us = clock_monotonic_us() + progress->settle_ms * 1000;
    return progress->settle_ms;
}

void group_progress_cut(struct group_progress *progress)
{
    if (!progress)
        return;
    LOCK_GUARD(&progress->lock);
    if (progress->stage == GROUP_STAGE_DECIDED)
        progress_enter_locked(progress, GROUP_STAGE_CUT);
}

void group_progress_end(struct group_progress *progress)
{
    LOCK_GUARD(&progress->lock);
    progress_enter_locked(progress, GROUP_STAGE_ENDED);
}

bool group_progress_expire(struct group_progress *progress)
{
    LOCK_GUARD(&progress->lock);
    progress_check_locked(progress);
    return progress->stage == GROUP_STAGE_EXPIRED;
}

void group_progress_abandon(struct group_progress *progress)
{
    LOCK_GUARD(&progress->lock);
    if (progress->stage == GROUP_STAGE_EXPIRED)
        progress_enter_locked(progress, GROUP_STAGE_ABANDONED);
}

/* Whether the call returns without the end once its wait is over. */
static bool progress_may_leave_locked(const struct group_progress *progress)
{
    return progress->keeps_row && progress->was_recorded;
}

/* Waits for another stage, or until there is something to do: at the deadline, after it, or at the
 * end of the call's wait. */
static void progress_wait_locked(struct group_progress *progress)
{
    uint64_t until_us = UINT64_MAX, leave_us = progress->begun_us + progress->wait_us;
    if (progress->stage == GROUP_STAGE_CUT)
        until_us = progress->settle_until_us;
    else if (progress->stage != GROUP_STAGE_DECIDED)
        until_us =
            progress->deadline_us + (progress->stage == GROUP_STAGE_EXPIRED ? ABANDON_MAX_US : 0);
    if (progress_may_leave_locked(progress) && leave_us < until_us)
        until_us = leave_us;
    (void)condition_wait_until(&progress->changed, &progress->lock, until_us);
}

enum group_stage group_progress_await(struct group_progress *progress)
{
    LOCK_GUARD(&progress->lock);
    for (;;) {
        bool has_expired = progress_check_locked(progress);
        bool is_over = progress->stage >= GROUP_STAGE_ABANDONED;
        if (progress_may_leave_locked(progress) && (!is_over || progress->wait_us == 0) &&
            clock_monotonic_us() >= progress->begun_us + progress->wait_us)
            return progress->settle_until_us && !is_over ? GROUP_STAGE_CUT : GROUP_STAGE_RECORDED;
        if (progress->stage == GROUP_STAGE_CUT && clock_monotonic_us() >= progress->settle_until_us)
            return GROUP_STAGE_CUT;
        if (is_over ||
            (has_expired && clock_monotonic_us() >= progress->deadline_us + ABANDON_MAX_US))
            return progress->stage;
        progress_wait_locked(progress);
    }
}
