/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-record.h. What waits for the store is a copy of just the columns that an update writes.
 */
#include "service/group-record.h"

#include "base/log.h"
#include "service/context.h"
#include "service/unsettled.h"

#include <assert.h>
#include <stdio.h>

/* The part of a group's row that an update needs, on its own. */
struct group_record {
    struct unsettled unsettled; /* first: the queue hands it back */
    struct group_row row;       /* of its strings only error_message is set */
    char error_message[ERR_MESSAGE_BYTES];
};

struct group_record *group_record_new(size_t member_count, struct err *err)
{
    struct group_record *record = calloc(1, sizeof(*record));
    if (record)
        record->row.members = calloc(member_count + 1, sizeof(*record->row.members));
    if (record && record->row.members) {
        record->row.member_count = member_count;
        return record;
    }
    free(record);
    err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
    return NULL;
}

void group_record_free(struct group_record *record)
{
    free(record->row.members);
    free(record);
}

static void record_free(struct unsettled *work)
{
    group_record_free((struct group_record *)work);
}

/* Copies what an update takes from the row; allocates nothing. */
static void record_fill(struct group_record *record, const struct group_row *row)
{
    struct member_row *members = record->row.members;
    assert(record->row.member_count == row->member_count);
    record->row = *row;
    record->row.name = record->row.labels = record->row.error_message = NULL;
    record->row.frozen = NULL; /* recorded with `committing` */
    record->row.frozen_count = 0;
    record->row.members = members;
    if (row->error_message) {
        snprintf(record->error_message, sizeof(record->error_message), "%s", row->error_message);
        record->row.error_message = record->error_message;
    }
    for (size_t i = 0; i < row->member_count; i++)
        members[i] = (struct member_row){.has_pause = row->members[i].has_pause,
                                         .pause_us = row->members[i].pause_us};
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
    const struct group_record *record = (const struct group_record *)work;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (store_group_get(service->store, record->row.id, &now, err) != 0)
        return unsettled_is_due(err) ? -1 : 0;
    bool failed = group_record_apply(service, now.state, &record->row, err) != 0;
    return failed && unsettled_is_due(err) ? -1 : 0;
}

void group_record_write(struct service *service, struct group_record **record,
                        enum group_state state, const struct group_row *row)
{
    struct err err;
    if (group_record_apply(service, state, row, &err) == 0)
        return;
    if (!unsettled_is_due(&err)) {
        log_error("group %s is %s, but that is not recorded: %s; a restart will", row->id,
                  group_state_name(row->state), err.message);
        return;
    }
    record_fill(*record, row);
    (*record)->unsettled.settle = record_settle;
    (*record)->unsettled.free = record_free;
    if (unsettled_settle(service, &(*record)->unsettled, &err) != 0)
        *record = NULL;
}
