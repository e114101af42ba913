/* SPDX-License-Identifier: Apache-2.0
 *
 * See open-cuts.h.
 *
 * Invariants:
 *   C1. A device is released only after the store has its member as settled, so no later group of
 *       the device is recorded before it. From before that is recorded until then, who asks for
 *       the device waits.
 *   C2. A cut is in the list as long as its group may be looked at: it leaves before the group is
 *       freed.
 */
#include "service/open-cuts.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"
#include "service/group-progress.h"
#include "service/group-record.h"
#include "service/unsettled.h"

#include <assert.h>
#include <string.h>

/* Between attempts to record members that the store refused. */
#define RETRY_MS 1000

/* ---- the list ---- */

static void cut_enter(struct service *service, struct open_cut *cut)
{
    LOCK_GUARD(&service->cuts_lock);
    cut->next = service->open_cuts;
    service->open_cuts = cut;
}

static void cut_leave(struct service *service, struct open_cut *cut)
{
    LOCK_GUARD(&service->cuts_lock);
    struct open_cut **at = &service->open_cuts;
    while (*at != cut)
        at = &(*at)->next;
    assert(cut->group); /* C2 */
    *at = cut->next;
}

void open_cuts_wait(struct service *service, const char *id, struct group_member_wait *waits,
                    size_t count)
{
    memset(waits, 0, count * sizeof(*waits));
    LOCK_GUARD(&service->cuts_lock);
    const struct open_cut *cut = service->open_cuts;
    while (cut && strcmp(cut->row->id, id) != 0)
        cut = cut->next;
    for (size_t i = 0; cut && i < count && i < cut->row->member_count; i++)
        group_member_wait(cut->group, i, &waits[i]);
}

/* ---- following ---- */

/* Takes over what is known of members that were frozen since. */
static void cut_note_members(struct open_cut *cut)
{
    for (size_t i = 0; i < cut->row->member_count; i++) {
        struct member_row *member = &cut->row->members[i];
        struct group_member_info info;
        if (member->is_settled)
            continue;
        group_member_info(cut->group, i, &info);
        assert(!info.is_released); /* C1 */
        if (!info.is_frozen)
            continue;
        member->is_settled = member->has_pause = member->has_copy_wait = true;
        member->pause_us = 0;
        member->copy_wait_us = info.copy_wait_us;
        cut->settled++;
    }
}

/* Whoever reads that they are settled finds their devices free, as soon as they are. */
static void cut_announce(struct open_cut *cut, bool is_announced)
{
    for (size_t i = 0; i < cut->row->member_count; i++) {
        struct group_member_info info;
        group_member_info(cut->group, i, &info);
        if (cut->row->members[i].is_settled && !info.is_released)
            group_announce_release(cut->group, i, is_announced);
    }
}

/* Records the cut with the members that are settled. False: the store cannot; to be repeated. Where
 * a commit fails whose event was made all the same, that comes twice. */
static bool cut_record(struct service *service, struct open_cut *cut, enum event_kind kind)
{
    struct err err;
    if (cut->has_failed && unsettled_resolve(service, &err) != 0)
        return false;
    int ret = group_row_write(service, store_group_update_cut, cut->row, cut->origin, kind, &err);
    if (ret != 0 && !cut->has_failed)
        log_error("group %s: its cut is not recorded yet: %s", cut->row->id, err.message);
    cut->has_failed = ret != 0;
    return ret == 0 || !unsettled_is_due(&err); /* any other error is the store's answer */
}

/* Offers the settled members, and releases their devices. */
static void cut_release_members(struct service *service, struct open_cut *cut)
{
    for (size_t i = 0; i < cut->row->member_count; i++) {
        struct group_member_info info;
        group_member_info(cut->group, i, &info);
        if (!cut->row->members[i].is_settled || info.is_released)
            continue;
        group_offer_member(service, cut->row, i);
        group_release_member(cut->group, i); /* C1 */
    }
}

/* Has the cut and what is settled recorded, then waits for more. */
static enum group_finish cut_step(struct service *service, struct open_cut *cut,
                                  struct group_progress *progress)
{
    uint64_t timeout_ms = UINT64_MAX, now_us = clock_monotonic_us();
    bool has_event = cut->has_event, is_due = now_us >= cut->event_at_us;
    cut_note_members(cut);
    cut_announce(cut, true);
    bool is_recorded =
        cut_record(service, cut, is_due && !has_event ? EVENT_GROUP_CUT : EVENT_KIND_COUNT);
    if (is_recorded)
        cut_release_members(service, cut);
    else
        cut_announce(cut, false);
    cut->has_event |= is_due && is_recorded;
    if (is_due)
        group_progress_cut(progress);
    if (!is_recorded)
        timeout_ms = RETRY_MS;
    else if (!cut->has_event)
        timeout_ms = (cut->event_at_us - now_us) / 1000 + 1;
    return group_finish_await(cut->group, cut->settled + 1, timeout_ms);
}

bool open_cut_follow(struct service *service, struct open_cut *cut, struct group_progress *progress)
{
    uint64_t settle_ms = group_progress_settle(progress);
    uint64_t event_ms = settle_ms < OPEN_CUT_EVENT_MS ? settle_ms : OPEN_CUT_EVENT_MS;
    cut->event_at_us = clock_monotonic_us() + event_ms * 1000;
    cut_enter(service, cut);
    group_finish_begin(cut->group);
    enum group_finish state =
        group_finish_await(cut->group, SIZE_MAX, settle_ms < OPEN_CUT_MS ? settle_ms : OPEN_CUT_MS);
    while (state == GROUP_FINISH_PENDING)
        state = cut_step(service, cut, progress);
    cut_note_members(cut);
    cut_leave(service, cut);
    assert(state == GROUP_FINISH_STOPPED || cut->settled == cut->row->member_count);
    return state == GROUP_FINISH_DONE;
}
