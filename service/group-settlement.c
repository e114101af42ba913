/* SPDX-License-Identifier: Apache-2.0
 *
 * Settlement of groups. The states of memory are in group-settlement.h, those of the row in
 * store/groups.c.
 *
 *   row \ memory   NOTHING     HELD        CUT   FROZEN    REMOVED     LEFT
 *   (none)         -           roll back   -     -         -           -
 *   preparing      roll back   roll back   -     -         roll back   roll back
 *   aborting       roll back   roll back   -     -         roll back   roll back
 *   committing     commit      cut         -     commit    -           -
 *   committed (*)  -           cut         -     commit    -           -
 *   aborted        -           roll back   -     -         -           -
 *
 *   (*) the row of a group that only cuts says `deleted` then
 *
 *   roll back   row `aborting`; overlays removed, devices released; row `aborted` once all are gone
 *   cut         members cut; then somebody follows the cut until memory is FROZEN
 *   commit      members offered; row `committed` (after a restart: the images synced; row; members)
 *
 * Invariants:
 *   I1. Members are cut only if the row says `committing` or later; overlays are removed only if
 *       it does not and never will.
 *   I2. While the row is unknown the devices stay held: neither happens.
 *   I3. Memory never goes back: a second action on the same settlement only moves the row.
 *   I4. The row says `aborted` only once no overlay is left.
 *   I5. No decision after the cut depends on an allocation. No assert: a property of the code.
 *   I6. Nobody waits for storage under settle_lock. No assert: it does not know its holder.
 */
#include "service/group-settlement.h"
#include "block/overlay.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "base/parallel.h"
#include "service/context.h"
#include "service/group-record.h"
#include "service/leftovers.h"
#include "service/names.h"
#include "service/open-cuts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum settlement_action { KEEP, ROLL_BACK, CUT, COMMIT };

static const enum settlement_action actions[GROUP_STORED_STATES][GROUP_MEMORY_STATES] = {
    [GROUP_STORED_NOTHING] = {[GROUP_MEMORY_HELD] = ROLL_BACK},
    [GROUP_PREPARING] = {ROLL_BACK, ROLL_BACK, KEEP, KEEP, ROLL_BACK, ROLL_BACK},
    [GROUP_ABORTING] = {ROLL_BACK, ROLL_BACK, KEEP, KEEP, ROLL_BACK, ROLL_BACK},
    [GROUP_COMMITTING] = {COMMIT, CUT, KEEP, COMMIT, KEEP, KEEP},
    [GROUP_COMMITTED] = {[GROUP_MEMORY_HELD] = CUT, [GROUP_MEMORY_FROZEN] = COMMIT},
    [GROUP_ABORTED] = {[GROUP_MEMORY_HELD] = ROLL_BACK},
};

static void settlement_assert_state(const struct settlement *settlement)
{
    enum group_memory_state memory = settlement->memory;
    (void)memory;
    assert(memory < GROUP_MEMORY_STATES);
    assert(settlement->stored <= GROUP_STORED_UNKNOWN);
    bool has_group = memory == GROUP_MEMORY_HELD || memory == GROUP_MEMORY_CUT;
    assert(!has_group || settlement->group);
    assert(has_group || !settlement->group || memory == GROUP_MEMORY_FROZEN);
    (void)has_group;
    assert(settlement->stored != GROUP_STORED_UNKNOWN || memory == GROUP_MEMORY_HELD); /* I2 */
    assert(memory != GROUP_MEMORY_CUT || settlement->row.state == GROUP_COMMITTING);
    assert(memory != GROUP_MEMORY_FROZEN || settlement->row.state == GROUP_COMMITTED);
    assert(memory != GROUP_MEMORY_REMOVED || settlement->row.state == GROUP_ABORTED);
    assert(memory != GROUP_MEMORY_LEFT || settlement->row.state == GROUP_ABORTING); /* I4 */
}

/* A thread that follows a cut of the queue. */
struct late_cut {
    struct late_cut *next;
    pthread_t thread;
    struct settlement *settlement;
};

static int settlement_look(struct service *service, struct unsettled *work, struct err *err);
static void settlement_free(struct unsettled *work);

/* A group that is still held is left to the restart: either action could contradict its row (I2).
 */
static void settlement_drop(struct settlement *settlement)
{
    if (settlement->row.members == settlement->waits)
        settlement->row = (struct group_row){0}; /* the copy, which owns nothing */
    group_row_clear(&settlement->row);
    free(settlement->waits);
    free(settlement->late);
    free(settlement);
}

struct settlement *settlement_new(struct service *service, size_t member_count, struct err *err)
{
    struct settlement *settlement = calloc(1, sizeof(*settlement));
    if (settlement) {
        settlement->waits = calloc(member_count + 1, sizeof(*settlement->waits));
        settlement->late = calloc(1, sizeof(*settlement->late));
    }
    if (!settlement || !settlement->waits || !settlement->late) {
        if (settlement)
            settlement_drop(settlement);
        err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
        return NULL;
    }
    settlement->unsettled.settle = settlement_look;
    settlement->unsettled.free = settlement_free;
    settlement->service = service;
    settlement->stored = GROUP_STORED_NOTHING;
    settlement->started_us = clock_monotonic_us();
    return settlement;
}

/* ---- roll back ---- */

/* On the leftovers' thread. The queue, if the group is in it, comes first: it makes the row
 * `aborting`. */
static bool leftover_retry(struct service *service, const struct leftover *leftover)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    struct err err;
    if (store_group_get(service->store, leftover->id, &row, &err) != 0)
        return err.code == ErrGroupNotFound;
    if (row.state == GROUP_ABORTING && settlement_recover(service, &row, &err) != 0)
        return false;
    return row.state != GROUP_PREPARING && row.state != GROUP_ABORTING;
}

/* After a restart: removes the overlays by name, those that it can; -1 if one may still exist. */
static int overlays_discard(struct service *service, const struct group_row *row, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    int ret = 0;
    id_bytes(row->id, id);
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        if (block_overlay_discard_unused(service->block, member->snapshot_file,
                                         member->directory_identity, member->format, id, err) != 0)
            ret = -1;
    }
    return ret;
}

static void overlays_remove(struct service *service, struct settlement *settlement)
{
    struct err err;
    bool is_removed = (settlement->memory == GROUP_MEMORY_HELD
                           ? group_abort(settlement->group, &err)
                           : overlays_discard(service, &settlement->row, &err)) == 0;
    if (settlement->group)
        group_free(steal(settlement->group));
    if (!is_removed)
        leftovers_add(service, leftover_retry, settlement->row.id, NULL, &err);
    settlement->memory = is_removed ? GROUP_MEMORY_REMOVED : GROUP_MEMORY_LEFT;
    settlement->row.state = is_removed ? GROUP_ABORTED : GROUP_ABORTING;
}

static int settlement_roll_back(struct service *service, struct settlement *settlement,
                                struct err *err)
{
    assert(settlement->stored != GROUP_COMMITTING &&
           settlement->stored != GROUP_COMMITTED); /* I1 */
    bool is_preparing = settlement->stored == GROUP_PREPARING;
    bool has_row = is_preparing || settlement->stored == GROUP_ABORTING;
    int ret = is_preparing ? group_row_write(service, store_group_update_aborting, &settlement->row,
                                             &settlement->origin, EVENT_KIND_COUNT, err)
                           : 0;
    if (settlement->memory == GROUP_MEMORY_NOTHING || settlement->memory == GROUP_MEMORY_HELD)
        overlays_remove(service, settlement);
    settlement_assert_state(settlement);
    if (ret != 0)
        return -1;
    if (has_row)
        settlement->stored = GROUP_ABORTING;
    if (!has_row || settlement->memory == GROUP_MEMORY_LEFT)
        return 0;
    assert(settlement->memory == GROUP_MEMORY_REMOVED); /* I4 */
    if (group_row_write(service, store_group_update_aborted, &settlement->row, &settlement->origin,
                        EVENT_GROUP_ABORTED, err) != 0)
        return -1;
    settlement->stored = GROUP_ABORTED;
    return 0;
}

/* ---- commit ---- */

/* Only memory is touched: storage may hang. */
static void settlement_cut(struct settlement *settlement)
{
    struct group_row *row = &settlement->row;
    group_cut(settlement->group, &row->cut_at_us);
    row->pause_us = 0; /* a cut holds no request */
    row->has_cut = true;
    row->has_error = false;
    row->state = GROUP_COMMITTING;
    settlement->memory = GROUP_MEMORY_CUT;
    settlement_assert_state(settlement);
}

/* Waits until all members are frozen (I6). False: the daemon ends before. */
static bool settlement_follow(struct settlement *settlement, struct group_progress *progress)
{
    struct group_row *row = &settlement->row;
    struct open_cut cut = {.group = settlement->group, .row = row, .origin = &settlement->origin};
    settlement_assert_state(settlement);
    assert(settlement->memory == GROUP_MEMORY_CUT);
    if (!open_cut_follow(settlement->service, &cut, progress)) {
        group_free(steal(settlement->group));
        settlement->memory = GROUP_MEMORY_NOTHING;
        log_warning("group %s is cut, but not all of it is durable: the next start commits it",
                    row->id);
        return false;
    }
    row->has_sealed = row->has_duration = true;
    row->sealed_us = group_sealed_us(settlement->group);
    row->duration_us = clock_monotonic_us() - settlement->started_us;
    row->state = GROUP_COMMITTED;
    settlement->memory = GROUP_MEMORY_FROZEN;
    settlement_assert_state(settlement);
    return true;
}

struct row_images {
    struct service *service;
    const struct group_row *row;
};

/* After a restart. Once the group is committed, a power failure must not take a write that was
 * acknowledged before its cut. */
static void image_sync_at(void *context, size_t position)
{
    const struct row_images *images = context;
    const struct member_row *member = &images->row->members[position];
    struct err err;
    if (member->backing_file && !member->is_settled &&
        block_image_sync(images->service->block, member->backing_file, &err) != 0)
        log_error("group %s: %s", images->row->id, err.message);
}

static void images_sync(struct service *service, const struct group_row *row)
{
    unsigned char id[OWNER_ID_BYTES];
    struct err err;
    struct row_images images = {service, row};
    id_bytes(row->id, id);
    parallel_run(row->member_count, image_sync_at, &images);
    for (size_t i = 0; i < row->member_count; i++)
        if (!row->members[i].is_settled &&
            block_image_keep(service->block, row->members[i].snapshot_file, id, &err) != 0)
            log_error("group %s: %s", row->id, err.message);
}

/* Offers the members that were not offered before the others were frozen. Who reads that the group
 * is committed, and asks for their devices, waits for group_free(). */
static void group_offer_rest(struct service *service, struct group *group,
                             const struct group_row *row)
{
    for (size_t i = 0; i < row->member_count; i++) {
        struct group_member_info info;
        group_member_info(group, i, &info);
        if (info.is_released)
            continue;
        group_offer_member(service, row, i);
        group_announce_release(group, i, true);
    }
}

static int settlement_commit(struct service *service, struct settlement *settlement,
                             struct err *err)
{
    assert(settlement->stored == GROUP_COMMITTING ||
           settlement->stored == GROUP_COMMITTED); /* I1 */
    struct group *group = steal(settlement->group);
    if (settlement->memory == GROUP_MEMORY_NOTHING)
        images_sync(service, &settlement->row);
    settlement->row.state = GROUP_COMMITTED;
    settlement->memory = GROUP_MEMORY_FROZEN;
    settlement_assert_state(settlement);
    if (group) /* before the row says that it may be deleted */
        group_offer_rest(service, group, &settlement->row);
    int ret = settlement->stored == GROUP_COMMITTED
                  ? 0
                  : group_row_write(service, store_group_update_committed, &settlement->row,
                                    &settlement->origin, EVENT_GROUP_COMMITTED, err);
    if (ret == 0)
        settlement->stored = GROUP_COMMITTED;
    if (group) /* also if the row lags: it is sure to follow */
        group_free(group);
    return ret;
}

/* ---- acting ---- */

/* 0, or -1 and the store's error; then memory is decided and the row lags. */
static int settlement_act(struct service *service, struct settlement *settlement, struct err *err)
{
    settlement_assert_state(settlement);
    assert(settlement->stored < GROUP_STORED_STATES); /* I2 */
    int ret = 0;
    switch (actions[settlement->stored][settlement->memory]) {
    case KEEP:
        return 0;
    case ROLL_BACK:
        ret = settlement_roll_back(service, settlement, err);
        break;
    case CUT:
        settlement_cut(settlement);
        break;
    case COMMIT:
        ret = settlement_commit(service, settlement, err);
        break;
    }
    assert(settlement->memory > GROUP_MEMORY_HELD); /* I3 */
    settlement_assert_state(settlement);
    return ret;
}

/* The queue's, under settle_lock, on any request's thread: reads the row, then acts. */
static int settlement_look(struct service *service, struct unsettled *work, struct err *err)
{
    struct settlement *settlement = (struct settlement *)work;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (store_group_get(service->store, settlement->row.id, &now, err) == 0)
        settlement->stored = now.state == GROUP_DELETED ? GROUP_COMMITTED : now.state;
    else if (unsettled_is_due(err))
        return -1;
    else
        settlement->stored = GROUP_STORED_NOTHING;
    bool has_failed = settlement_act(service, settlement, err) != 0;
    return has_failed && unsettled_is_due(err) ? -1 : 0;
}

/* Moves the row into `row`, and keeps a copy of the columns that an update writes. Allocates
 * nothing (I5). */
static void settlement_keep_copy(struct settlement *settlement, struct group_row *row)
{
    struct group_row *copy = &settlement->row;
    *row = *copy;
    copy->name = copy->labels = copy->selector = copy->error_message = NULL;
    copy->request_hash = copy->rolled_back_to = copy->holds = NULL;
    copy->frozen = NULL; /* recorded with `committing` */
    copy->frozen_count = 0;
    copy->members = settlement->waits;
    if (row->error_message) {
        snprintf(settlement->error_message, sizeof(settlement->error_message), "%s",
                 row->error_message);
        copy->error_message = settlement->error_message;
    }
    for (size_t i = 0; i < row->member_count; i++)
        copy->members[i] = (struct member_row){.has_pause = row->members[i].has_pause,
                                               .pause_us = row->members[i].pause_us,
                                               .has_copy_wait = row->members[i].has_copy_wait,
                                               .copy_wait_us = row->members[i].copy_wait_us,
                                               .is_settled = row->members[i].is_settled};
}

/* Acts. What the store refuses is left to the queue, and a copy of the row moved to `row` (or
 * NULL). 0: the settlement is still the caller's; -1: it is the queue's. */
static int settlement_try(struct settlement *settlement, struct group_row *row)
{
    struct err err;
    bool is_unknown = settlement->stored == GROUP_STORED_UNKNOWN;
    int ret = is_unknown ? -1 : settlement_act(settlement->service, settlement, &err);
    if (ret != 0 && !is_unknown && !unsettled_is_due(&err)) {
        log_error("group %s is %s, but that is not recorded: %s; a restart will",
                  settlement->row.id, group_state_name(settlement->row.state), err.message);
        ret = 0;
    }
    if (ret == 0)
        return 0;
    if (!is_unknown && row)
        settlement_keep_copy(settlement, row);
    return leftovers_settle(settlement->service, &settlement->unsettled, &err);
}

bool settlement_end(struct settlement *settlement, struct group_progress *progress,
                    struct group_row *row, struct err *err)
{
    if (settlement_try(settlement, row) != 0)
        return row->state == GROUP_COMMITTED;
    if (settlement->memory == GROUP_MEMORY_CUT) {
        if (!settlement_follow(settlement, progress))
            err_set(err, ErrNotReady, 0,
                    "the group is cut, and the daemon ends before all of it is durable: its next "
                    "start commits it");
        else if (settlement_try(settlement, row) != 0)
            return row->state == GROUP_COMMITTED;
    }
    if (settlement->row.members != settlement->waits) {
        *row = settlement->row;
        settlement->row = (struct group_row){0};
    }
    bool is_committed = row->state == GROUP_COMMITTED;
    settlement_drop(settlement);
    return is_committed;
}

/* ---- cuts that the queue made ---- */

static void *late_cut_run(void *arg)
{
    struct settlement *settlement = ((struct late_cut *)arg)->settlement;
    settlement->late = NULL; /* the list's */
    pthread_setname_np(pthread_self(), "group-late");
    log_set_request(settlement->origin.request_id);
    if (settlement_follow(settlement, NULL) && settlement_try(settlement, NULL) != 0)
        return NULL;
    settlement_drop(settlement);
    return NULL;
}

/* Under settle_lock. If there is no thread, the devices stay held until a restart. */
static void late_cut_start(struct settlement *settlement)
{
    struct service *service = settlement->service;
    struct late_cut *late = settlement->late;
    late->settlement = settlement;
    if (pthread_create(&late->thread, NULL, late_cut_run, late) != 0) {
        log_error("group %s is cut, and there is no thread to finish it: a restart will",
                  settlement->row.id);
        return;
    }
    late->next = service->late_cuts;
    service->late_cuts = late;
}

/* The queue's, under settle_lock. */
static void settlement_free(struct unsettled *work)
{
    struct settlement *settlement = (struct settlement *)work;
    if (settlement->memory == GROUP_MEMORY_CUT)
        late_cut_start(settlement);
    else
        settlement_drop(settlement);
}

void settlements_close(struct service *service)
{
    pthread_mutex_lock(&service->settle_lock);
    struct late_cut *late = steal(service->late_cuts);
    pthread_mutex_unlock(&service->settle_lock);
    while (late) {
        struct late_cut *next = late->next;
        pthread_join(late->thread, NULL);
        free(late);
        late = next;
    }
}

/* ---- after a restart ---- */

int settlement_recover(struct service *service, struct group_row *row, struct err *err)
{
    struct err cause;
    struct settlement settlement = {.stored = row->state, .row = *row, .origin = origin_daemon};
    if (row->state == GROUP_PREPARING) {
        err_set(&cause, ErrInternalError, 0,
                "the daemon was stopped before the point of no return and nothing was frozen; take "
                "it again");
        group_row_fail(&settlement.row, &cause, SIZE_MAX);
    }
    int ret = settlement_act(service, &settlement, err);
    *row = settlement.row;
    return ret;
}
