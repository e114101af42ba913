/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-record.h. What waits for the store is a copy of just the columns that an update writes.
 */
#include "service/group-record.h"

#include "base/log.h"
#include "service/service.h"
#include "service/unsettled.h"

#include <string.h>

/* The part of a group's row that an update needs, on its own. */
struct record {
    struct unsettled unsettled; /* first: the queue hands it back */
    struct group_row row;
};

static void record_free(struct unsettled *work)
{
    struct record *record = (struct record *)work;
    group_row_clear(&record->row);
    free(record);
}

static struct record *record_new(const struct group_row *row)
{
    struct record *record = calloc(1, sizeof(*record));
    if (!record)
        return NULL;
    record->row = *row;
    record->row.name = record->row.labels = NULL;
    record->row.error_message = row->error_message ? strdup(row->error_message) : NULL;
    record->row.members = calloc(row->member_count, sizeof(*row->members));
    if (!record->row.members || (row->error_message && !record->row.error_message)) {
        record->row.member_count = record->row.members ? row->member_count : 0;
        record_free(&record->unsettled);
        return NULL;
    }
    for (size_t i = 0; i < row->member_count; i++) {
        record->row.members[i].has_pause = row->members[i].has_pause;
        record->row.members[i].pause_us = row->members[i].pause_us;
    }
    return record;
}

int group_record_apply(struct service *service, enum group_state state, const struct group_row *row,
                       struct err *err)
{
    switch (state) {
    case GROUP_PREPARING:
        if (store_group_update_aborting(service->store, row, err) != 0)
            return -1;
        /* fall through */
    case GROUP_ABORTING:
        if (row->state == GROUP_ABORTING)
            return 0;
        return store_group_update_aborted(service->store, row, err);
    case GROUP_COMMITTING:
        return store_group_update_committed(service->store, row, err);
    default:
        return 0;
    }
}

static int record_settle(struct service *service, struct unsettled *work, struct err *err)
{
    const struct record *record = (const struct record *)work;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (store_group_get(service->store, record->row.id, &now, err) != 0)
        return err->code == ErrStoreFailed ? -1 : 0;
    bool failed = group_record_apply(service, now.state, &record->row, err) != 0;
    return failed && err->code == ErrStoreFailed ? -1 : 0;
}

void group_record_write(struct service *service, enum group_state state,
                        const struct group_row *row)
{
    struct err err;
    if (group_record_apply(service, state, row, &err) == 0)
        return;
    struct record *record = err.code == ErrStoreFailed ? record_new(row) : NULL;
    if (!record) {
        log_error("group %s is %s, but that is not recorded: %s; a restart will", row->id,
                  group_state_name(row->state), err.message);
        return;
    }
    record->unsettled.settle = record_settle;
    record->unsettled.free = record_free;
    if (unsettled_settle(service, &record->unsettled, &err) == 0)
        record_free(&record->unsettled);
}
