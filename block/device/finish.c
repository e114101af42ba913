/* SPDX-License-Identifier: Apache-2.0
 *
 * See finish.h.
 *
 *     positions   0   1   2  ...                next ............ count
 *                 being finished, or frozen     | nobody's yet
 *
 * A thread takes the next position and finishes that member, however long its storage takes. As
 * long as some are left, each taking starts one more thread, up to FINISH_THREADS: members that are
 * soon finished need few. If then no position is taken for STEP_MS, all threads wait for storage,
 * and one more is started: so up to FINISH_THREADS_MAX members that hang delay no other.
 *
 * Invariants:
 *   F1. A position is taken once, and a member is frozen by the thread that took it. finish->lock
 *       guards both.
 *   F2. Nothing is allocated after the cut but the threads' stacks; where there is no thread, the
 *       caller finishes the members itself.
 *   F3. Every member that is taken comes to be frozen, or is left for the next start because the
 *       block layer stops; one that cannot be made durable is retried until then.
 */
#include "block/device/finish.h"

#include "base/condition.h"
#include "base/helper-thread.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "block/device/group-state.h"
#include "block/device/rollback.h"
#include "block/image/frozen-attribute.h"

#include <assert.h>

enum { FINISH_THREADS = 16, FINISH_THREADS_MAX = 256, STEP_MS = 50, RETRY_MS = 1000 };

int finish_init(struct group *group)
{
    struct finish *finish = &group->finish;
    finish->room = group->count < FINISH_THREADS_MAX ? group->count : FINISH_THREADS_MAX;
    finish->threads = calloc(finish->room, sizeof(*finish->threads));
    return finish->threads ? 0 : -1;
}

static void finish_wait_locked(struct finish *finish, uint64_t until_ms)
{
    (void)condition_wait_until(&finish->changed, &finish->lock, until_ms * 1000);
}

/* ---- threads ---- */

static bool block_is_stopping(struct block *block)
{
    LOCK_GUARD(&block->lock);
    return block->is_stopping;
}

/* Waits before another attempt to freeze the member. False: the block layer stops. */
static bool finish_wait_retry(struct group *group)
{
    const uint64_t until_ms = clock_monotonic_ms() + RETRY_MS;
    LOCK_GUARD(&group->finish.lock);
    while (clock_monotonic_ms() < until_ms)
        finish_wait_locked(&group->finish, until_ms);
    return !block_is_stopping(group->block);
}

static void finish_sealed(struct group *group, struct member *member, uint64_t copy_wait_us)
{
    LOCK_GUARD(&group->finish.lock);
    member->copy_wait_us = copy_wait_us;
    member_enter_state(member, MEMBER_SEALED);
}

/* That of a rollback is tried once: its device has no client meanwhile, and nobody reads it. */
static bool finish_freeze(struct group *group, struct member *member)
{
    if (group->is_rollback) {
        rollback_finish(member);
        return true;
    }
    bool is_frozen = member_freeze(member, true);
    while (!is_frozen && finish_wait_retry(group))
        is_frozen = member_freeze(member, false);
    return is_frozen;
}

/* Marks the old top and all that it stands on, as far down as it was not marked before. */
static void finish_mark(const struct member *member)
{
    const struct node *node = member->frozen;
    while (node && frozen_attribute_set(node->fd, &node->identity))
        node = node->backing;
}

/* F3 */
static void finish_member(struct group *group, struct member *member)
{
    struct finish *finish = &group->finish;
    finish_sealed(group, member, group->is_rollback ? 0 : member_seal(member));
    bool is_frozen = finish_freeze(group, member);
    if (is_frozen)
        finish_mark(member);
    LOCK_GUARD(&finish->lock);
    finish->stopped += !is_frozen;
    finish->frozen += is_frozen;
    assert(finish->frozen + finish->stopped <= finish->next); /* F1, F3 */
    if (is_frozen)
        member_enter_state(member, MEMBER_FROZEN);
    pthread_cond_broadcast(&finish->changed);
}

static void *finish_run(void *arg);

static void finish_start_locked(struct group *group)
{
    struct finish *finish = &group->finish;
    if (finish->thread_count < finish->room &&
        helper_thread_new(&finish->threads[finish->thread_count], finish_run, group) == 0)
        finish->thread_count++;
}

/* NULL: none is left. */
static struct member *finish_take(struct group *group)
{
    struct finish *finish = &group->finish;
    LOCK_GUARD(&finish->lock);
    if (finish->next == group->count)
        return NULL;
    finish->taken_at_ms = clock_monotonic_ms();
    struct member *member = &group->members[finish->next++]; /* F1 */
    if (finish->next < group->count && finish->thread_count < FINISH_THREADS)
        finish_start_locked(group);
    return member;
}

/* What nobody waits for: it is done while the group is recorded. */
static void finish_free_journals(const struct member *members)
{
    for (; members; members = members->next_finished) {
        struct node *node = members->frozen;
        while (node && node_free_journal(node))
            node = node->backing;
    }
}

static void finish_work(struct group *group)
{
    struct member *member, *finished = NULL;
    while ((member = finish_take(group))) {
        finish_member(group, member);
        member->next_finished = finished;
        finished = member;
    }
    finish_free_journals(finished);
}

static void *finish_run(void *arg)
{
    struct group *group = arg;
    pthread_setname_np(pthread_self(), "group-finish");
    log_set_request(group->finish.request);
    finish_work(group);
    return NULL;
}

/* ---- the thread that runs the group ---- */

static void finish_begin(struct group *group)
{
    struct finish *finish = &group->finish;
    pthread_mutex_lock(&finish->lock);
    finish->request = log_request();
    finish->taken_at_ms = clock_monotonic_ms();
    finish_start_locked(group);
    bool has_threads = finish->thread_count > 0;
    pthread_mutex_unlock(&finish->lock);
    if (has_threads)
        return;
    finish_work(group);
    assert(finish->next == group->count); /* F2 */
}

static enum group_finish finish_await(struct group *group, size_t count, uint64_t timeout_ms)
{
    struct finish *finish = &group->finish;
    const uint64_t begun_ms = clock_monotonic_ms();
    const uint64_t end_ms = timeout_ms < UINT64_MAX - begun_ms ? begun_ms + timeout_ms : UINT64_MAX;
    LOCK_GUARD(&finish->lock);
    while (finish->frozen < count && finish->frozen + finish->stopped < group->count &&
           clock_monotonic_ms() < end_ms) {
        bool are_left = finish->next < group->count;
        uint64_t until_ms = are_left ? finish->taken_at_ms + STEP_MS : end_ms;
        if (are_left && clock_monotonic_ms() >= until_ms) {
            finish_start_locked(group);
            finish->taken_at_ms = clock_monotonic_ms();
        } else if (until_ms < end_ms || end_ms < UINT64_MAX) {
            finish_wait_locked(finish, until_ms < end_ms ? until_ms : end_ms);
        } else {
            condition_wait(&finish->changed, &finish->lock);
        }
    }
    if (finish->frozen == group->count)
        return GROUP_FINISH_DONE;
    return finish->frozen + finish->stopped == group->count ? GROUP_FINISH_STOPPED
                                                            : GROUP_FINISH_PENDING;
}

void group_finish_begin(struct group *group)
{
    group_assert_state(group, TRANSACTION_CUT);
    group_enter_state(group, TRANSACTION_FINISHING);
    finish_begin(group);
}

enum group_finish group_finish_await(struct group *group, size_t count, uint64_t timeout_ms)
{
    group_assert_state(group, TRANSACTION_FINISHING);
    enum group_finish result = finish_await(group, count, timeout_ms);
    group->is_stopped = result == GROUP_FINISH_STOPPED;
    if (result == GROUP_FINISH_DONE) {
        group->sealed_us = clock_monotonic_us() - group->cut_us;
        group_enter_state(group, TRANSACTION_FINISHED);
    }
    return result;
}

uint64_t group_sealed_us(const struct group *group)
{
    assert(group->state == TRANSACTION_FINISHED);
    return group->sealed_us;
}

void group_announce_release(struct group *group, size_t position, bool is_announced)
{
    LOCK_GUARD(&group->finish.lock);
    LOCK_GUARD(&group->block->lock);
    assert(group->members[position].state == MEMBER_FROZEN); /* I3 in group.c */
    group->members[position].device->is_returning = is_announced;
    pthread_cond_broadcast(&group->block->changed);
}

void group_release_member(struct group *group, size_t position)
{
    LOCK_GUARD(&group->finish.lock);
    assert(group->members[position].state == MEMBER_FROZEN); /* I3 in group.c */
    member_release(group, &group->members[position]);
}

void group_member_wait(struct group *group, size_t position, struct group_member_wait *wait)
{
    LOCK_GUARD(&group->finish.lock);
    const struct member *member = &group->members[position];
    *wait = (struct group_member_wait){.is_waiting = group->state >= TRANSACTION_CUT &&
                                                     member->state < MEMBER_FROZEN};
    if (!wait->is_waiting)
        return;
    wait->is_flushing = member->state == MEMBER_SEALED;
    if (member->state == MEMBER_UNSEALED)
        wait->changes = changes_count(&member->device->changes, member->frozen);
    wait->since_cut_us = clock_monotonic_us() - group->cut_us;
}

static size_t finish_count_threads(struct finish *finish)
{
    LOCK_GUARD(&finish->lock);
    return finish->thread_count;
}

/* A thread that has ended has started all that it ever will. */
void finish_end(struct group *group)
{
    struct finish *finish = &group->finish;
    for (size_t i = 0; i < finish_count_threads(finish); i++)
        pthread_join(finish->threads[i], NULL);
    assert(finish->thread_count == 0 || finish->next == group->count); /* F1 */
    free(finish->threads);
}
