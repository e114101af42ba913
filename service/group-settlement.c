/* SPDX-License-Identifier: Apache-2.0
 *
 * Settlement of groups. The states of memory are in group-settlement.h, those of the row in
 * store/groups.c.
 *
 *   row \ memory   NOTHING     HELD        CUT       REMOVED     LEFT
 *   (none)         -           roll back   -         -           -
 *   preparing      roll back   roll back   -         roll back   roll back
 *   aborting       roll back   roll back   -         roll back   roll back
 *   committing     commit      commit      commit    -           -
 *   committed      -           commit      -         -           -
 *   aborted        -           roll back   -         -           -
 *
 *   roll back   row `aborting`; overlays removed, devices released; row `aborted` once all are gone
 *   commit      members cut (after a restart: the images synced); row `committed`; members offered
 *
 * Invariants:
 *   I1. Members are cut only if the row says `committing` or later; overlays are removed only if
 *       it does not and never will.
 *   I2. While the row is unknown the devices stay held: neither happens.
 *   I3. Memory never goes back: a second action on the same settlement only moves the row.
 *   I4. The row says `aborted` only once no overlay is left.
 *   I5. Nothing is allocated after the cut. No assert: a property of the code.
 */
#include "service/group-settlement.h"
#include "block/overlay.h"

#include "base/log.h"
#include "service/allowed-clients.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/idempotency.h"
#include "service/leftovers.h"
#include "service/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum settlement_action { KEEP, ROLL_BACK, COMMIT };

static const enum settlement_action actions[GROUP_STORED_STATES][GROUP_MEMORY_STATES] = {
    [GROUP_STORED_NOTHING] = {[GROUP_MEMORY_HELD] = ROLL_BACK},
    [GROUP_PREPARING] = {ROLL_BACK, ROLL_BACK, KEEP, ROLL_BACK, ROLL_BACK},
    [GROUP_ABORTING] = {ROLL_BACK, ROLL_BACK, KEEP, ROLL_BACK, ROLL_BACK},
    [GROUP_COMMITTING] = {COMMIT, COMMIT, COMMIT, KEEP, KEEP},
    [GROUP_COMMITTED] = {[GROUP_MEMORY_HELD] = COMMIT},
    [GROUP_ABORTED] = {[GROUP_MEMORY_HELD] = ROLL_BACK},
};

static void settlement_assert_state(const struct settlement *settlement)
{
    enum group_memory_state memory = settlement->memory;
    (void)memory;
    assert(memory < GROUP_MEMORY_STATES);
    assert(settlement->stored <= GROUP_STORED_UNKNOWN);
    assert((memory == GROUP_MEMORY_HELD) == (settlement->group != NULL));
    assert(settlement->stored != GROUP_STORED_UNKNOWN || memory == GROUP_MEMORY_HELD); /* I2 */
    assert(memory != GROUP_MEMORY_CUT || settlement->row.state == GROUP_COMMITTED);
    assert(memory != GROUP_MEMORY_REMOVED || settlement->row.state == GROUP_ABORTED);
    assert(memory != GROUP_MEMORY_LEFT || settlement->row.state == GROUP_ABORTING); /* I4 */
}

struct settlement *settlement_new(size_t member_count, struct err *err)
{
    struct settlement *settlement = calloc(1, sizeof(*settlement));
    if (settlement)
        settlement->waits = calloc(member_count + 1, sizeof(*settlement->waits));
    if (!settlement || !settlement->waits) {
        free(settlement);
        err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
        return NULL;
    }
    settlement->stored = GROUP_STORED_NOTHING;
    settlement->started_us = clock_monotonic_us();
    return settlement;
}

/* A group that is still held is left to the restart: either action could contradict its row
 * (I2). */
static void settlement_free(struct unsettled *work)
{
    struct settlement *settlement = (struct settlement *)work;
    if (settlement->row.members == settlement->waits)
        settlement->row = (struct group_row){0}; /* the copy, which owns nothing */
    group_row_clear(&settlement->row);
    free(settlement->waits);
    free(settlement);
}

void group_row_fail(struct group_row *row, const struct err *err, size_t member)
{
    free(row->error_message);
    row->has_error = true;
    row->error_code = err->code;
    row->error_errnum = err->errnum;
    row->error_message = strdup(err->message);
    row->has_error_member = member != SIZE_MAX;
    row->error_member = row->has_error_member ? member : 0;
}

int group_row_write(struct service *service,
                    int query(struct store_transaction *, const struct group_row *, struct err *),
                    const struct group_row *row, const struct origin *origin, enum event_kind kind,
                    struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || query(transaction, row, err) != 0 ||
        event_record(transaction, origin, kind, NULL, row->id, err) != 0 ||
        (query == store_group_insert &&
         key_record(transaction, origin, "group", row->id, err) != 0))
        return -1;
    return store_commit(steal(transaction), err);
}

/* The row has the member's device and clients once it was read from the store. */
static int member_offer(struct service *service, const struct group_row *row,
                        const struct member_row *member, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    CLEANUP(allowed_clients) struct allowed_clients *clients = NULL;
    if (allowed_clients_parse(member->allowed_clients, &clients, err) != 0)
        return -1;
    struct frozen_owner owner = {.id = member->device_id ? id : NULL, .clients = clients};
    if (member->device_id)
        id_bytes(member->device_id, id);
    return block_frozen_add(service->block, member->device, row->name, row->id,
                            member->backing_file, member->backing_identity, member->backing_format,
                            &owner, err);
}

void group_offer_members(struct service *service, const struct group_row *row)
{
    struct err err;
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        if (member->backing_file && member->backing_format &&
            member_offer(service, row, member, &err) != 0)
            log_error("frozen member '%s@%s' is not offered: %s", member->device, row->name,
                      err.message);
    }
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
        if (block_overlay_discard(service->block, member->snapshot_file, member->directory_identity,
                                  member->format, id, err) != 0)
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
    if (!is_removed) {
        struct leftover leftover = {.retry = leftover_retry};
        memcpy(leftover.id, settlement->row.id, sizeof(leftover.id));
        leftovers_add(service, &leftover, &err);
    }
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

static void settlement_cut(struct settlement *settlement)
{
    struct group_row *row = &settlement->row;
    group_cut(settlement->group, &row->cut_at_us);
    row->pause_us = 0; /* a cut holds no request */
    row->has_cut = true;
    row->has_error = false;
    group_finish(settlement->group, &row->sealed_us);
    row->has_sealed = true;
    for (size_t i = 0; i < row->member_count; i++) {
        struct member_row *member = &row->members[i];
        struct group_member_info info;
        group_member_info(settlement->group, i, &info);
        member->has_pause = member->has_copy_wait = true;
        member->pause_us = 0;
        member->copy_wait_us = info.copy_wait_us;
    }
    row->has_duration = true;
    row->duration_us = clock_monotonic_us() - settlement->started_us;
}

/* After a restart. Once the group is committed, a power failure must not take a write that was
 * acknowledged before its cut. */
static void images_sync(struct service *service, const struct group_row *row)
{
    unsigned char id[OWNER_ID_BYTES];
    struct err err;
    id_bytes(row->id, id);
    for (size_t i = 0; i < row->member_count; i++)
        if (row->members[i].backing_file &&
            block_image_sync(service->block, row->members[i].backing_file, &err) != 0)
            log_error("group %s: %s", row->id, err.message);
    for (size_t i = 0; i < row->member_count; i++)
        if (block_image_keep(service->block, row->members[i].snapshot_file, id, &err) != 0)
            log_error("group %s: %s", row->id, err.message);
}

static int settlement_commit(struct service *service, struct settlement *settlement,
                             struct err *err)
{
    assert(settlement->stored == GROUP_COMMITTING ||
           settlement->stored == GROUP_COMMITTED); /* I1 */
    struct group *group = settlement->group;
    if (settlement->memory == GROUP_MEMORY_HELD)
        settlement_cut(settlement);
    else if (settlement->memory == GROUP_MEMORY_NOTHING)
        images_sync(service, &settlement->row);
    settlement->row.state = GROUP_COMMITTED;
    settlement->memory = GROUP_MEMORY_CUT;
    settlement->group = NULL;
    settlement_assert_state(settlement);
    int ret = settlement->stored == GROUP_COMMITTED
                  ? 0
                  : group_row_write(service, store_group_update_committed, &settlement->row,
                                    &settlement->origin, EVENT_GROUP_COMMITTED, err);
    if (ret == 0)
        settlement->stored = GROUP_COMMITTED;
    if (group) { /* also if the row lags: it is sure to follow */
        group_offer_members(service, &settlement->row);
        group_free(group);
    }
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
        settlement->stored = now.state;
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
                                               .copy_wait_us = row->members[i].copy_wait_us};
}

bool settlement_end(struct service *service, struct settlement *settlement, struct group_row *row)
{
    struct err err;
    bool is_unknown = settlement->stored == GROUP_STORED_UNKNOWN;
    int ret = is_unknown ? -1 : settlement_act(service, settlement, &err);
    if (ret != 0 && !is_unknown && !unsettled_is_due(&err)) {
        log_error("group %s is %s, but that is not recorded: %s; a restart will",
                  settlement->row.id, group_state_name(settlement->row.state), err.message);
        ret = 0;
    }
    if (ret != 0) {
        settlement->unsettled.settle = settlement_look;
        settlement->unsettled.free = settlement_free;
        if (!is_unknown)
            settlement_keep_copy(settlement, row);
        if (unsettled_settle(service, &settlement->unsettled, &err) != 0)
            return row->state == GROUP_COMMITTED;
    }
    if (settlement->row.members != settlement->waits) {
        *row = settlement->row;
        settlement->row = (struct group_row){0};
    }
    bool is_committed = row->state == GROUP_COMMITTED;
    settlement_free(&settlement->unsettled);
    return is_committed;
}

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
