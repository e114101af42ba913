/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables `groups` and `members`. See store.h.
 *
 *   preparing -> committing -> committed        store_group_update_committing, _committed
 *       +-> aborting -> aborted                 store_group_update_aborting, _aborted
 *       +------------------^
 *
 * A change of state names the states it may come from; from any other it is our own bug
 * (InternalError) and nothing changes.
 *
 * Invariants, so that a device's row never goes back to an older top than the one in memory:
 *   1. A device is in at most one group that is `committing`: no other group of it is inserted before that
 *      one is committed. A row that cannot be brought to `committed` therefore never has a later group on
 *      top of it.
 *   2. A group moves a device's top only if it is that very device (by id) and its top is the image that
 *      the group froze. So committing twice, or after a later group (which only rows from before invariant
 *      1 can be), changes nothing; and committing the oldest first (recovery.c) follows the chain upwards.
 */
#include "store/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GROUP_COLUMNS                                                                              \
    "id, state, name, labels, created_at_us, cut_at_us, pause_us, duration_us, error_code, "       \
    "error_errnum, error_message, error_member, sequence"

static const char *const state_names[] = {
    [GROUP_PREPARING] = "preparing", [GROUP_COMMITTING] = "committing",
    [GROUP_COMMITTED] = "committed", [GROUP_ABORTING] = "aborting",
    [GROUP_ABORTED] = "aborted",
};

const char *group_state_name(enum group_state state)
{
    return state_names[state];
}

static void member_row_clear(struct member_row *row)
{
    free(row->device);
    free(row->device_id);
    free(row->backing_identity);
    free(row->snapshot_identity);
    free(row->directory_identity);
    free(row->backing_file);
    free(row->backing_format);
    free(row->snapshot_file);
    free(row->format);
}

void group_row_clear(struct group_row *row)
{
    for (size_t i = 0; i < row->member_count; i++)
        member_row_clear(&row->members[i]);
    free(row->members);
    frozen_file_rows_free(row->frozen, row->frozen_count);
    free(row->name);
    free(row->labels);
    free(row->error_message);
    memset(row, 0, sizeof(*row));
}

void group_rows_free(struct group_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        group_row_clear(&rows[i]);
    free(rows);
}

/* ---- reading ---- */

static bool column_int(sqlite3_stmt *statement, int column, uint64_t *value)
{
    *value = (uint64_t)sqlite3_column_int64(statement, column);
    return sqlite3_column_type(statement, column) != SQLITE_NULL;
}

/* Reads the columns GROUP_COLUMNS of the current row; the members come separately. */
static int group_row_load(struct group_row *row, sqlite3_stmt *statement, struct err *err)
{
    static const int needed[] = {0, 2, 3};
    bool short_of_memory = false;
    uint64_t errnum = 0, member = 0;
    int state;
    if (statement_choice(statement, 1, state_names, GROUP_ABORTED + 1, &state, "groups", err) !=
            0 ||
        statement_check_there(statement, needed, sizeof(needed) / sizeof(*needed), "groups", err) !=
            0)
        return -1;
    *row = (struct group_row){
        .state = (enum group_state)state,
        .name = statement_text(statement, 2, &short_of_memory),
        .labels = statement_text(statement, 3, &short_of_memory),
        .created_at_us = (uint64_t)sqlite3_column_int64(statement, 4),
        .error_message = statement_text(statement, 10, &short_of_memory),
        .sequence = (uint64_t)sqlite3_column_int64(statement, 12),
    };
    snprintf(row->id, sizeof(row->id), "%s", (const char *)sqlite3_column_text(statement, 0));
    row->has_cut = column_int(statement, 5, &row->cut_at_us);
    column_int(statement, 6, &row->pause_us);
    row->has_duration = column_int(statement, 7, &row->duration_us);
    column_int(statement, 9, &errnum);
    row->error_errnum = (int)errnum;
    row->has_error_member = column_int(statement, 11, &member);
    row->error_member = (size_t)member;
    const char *code = (const char *)sqlite3_column_text(statement, 8);
    row->has_error = code != NULL;
    if (code)
        row->error_code = err_code_from_name(code);
    if (!short_of_memory)
        return 0;
    group_row_clear(row);
    return store_out_of_memory(err);
}

/* Appends the current row of the members' query. */
static int member_row_append(struct group_row *row, sqlite3_stmt *statement, struct err *err)
{
    struct member_row *members =
        realloc(row->members, (row->member_count + 1) * sizeof(*row->members));
    if (!members)
        return store_out_of_memory(err);
    static const int needed[] = {0, 3, 4};
    bool short_of_memory = false;
    row->members = members;
    if (statement_check_there(statement, needed, sizeof(needed) / sizeof(*needed), "members",
                              err) != 0)
        return -1;
    struct member_row *member = &members[row->member_count++];
    *member = (struct member_row){
        .device = statement_text(statement, 0, &short_of_memory),
        .backing_file = statement_text(statement, 1, &short_of_memory),
        .backing_format = statement_text(statement, 2, &short_of_memory),
        .snapshot_file = statement_text(statement, 3, &short_of_memory),
        .format = statement_text(statement, 4, &short_of_memory),
        .device_id = statement_text(statement, 6, &short_of_memory),
        .backing_identity = statement_text(statement, 7, &short_of_memory),
        .snapshot_identity = statement_text(statement, 8, &short_of_memory),
        .directory_identity = statement_text(statement, 9, &short_of_memory),
    };
    member->has_pause = column_int(statement, 5, &member->pause_us);
    return short_of_memory ? store_out_of_memory(err) : 0;
}

static int group_row_load_members(struct store *store, struct group_row *row, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "SELECT device, backing_file, backing_format, snapshot_file, format, pause_us, device_id, "
        "backing_identity, snapshot_identity, directory_identity FROM members WHERE group_id = :id "
        "ORDER BY position",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    int ret;
    while ((ret = statement_step(store, statement, ErrInternalError, row->id, err)) > 0)
        if (member_row_append(row, statement, err) != 0)
            return -1;
    return ret;
}

/* The first row of `sql` with :key bound: 1 found, 0 not, -1 *err. */
static int group_find(struct store *store, const char *sql, const char *key, struct group_row *row,
                      struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_new(store, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":key", key);
    int ret = statement_step(store, statement, ErrInternalError, key, err);
    if (ret > 0 && group_row_load(row, statement, err) != 0)
        return -1;
    return ret;
}

int store_group_get(struct store *store, const char *id_or_name, struct group_row *row,
                    struct err *err)
{
    CLEANUP(store) struct store *held = store_enter_reader(store, err);
    if (!held)
        return -1;
    int ret = group_find(held, "SELECT " GROUP_COLUMNS " FROM groups WHERE id = :key", id_or_name,
                         row, err);
    if (ret == 0)
        ret = group_find(
            held, "SELECT " GROUP_COLUMNS " FROM groups WHERE name = :key AND state <> 'aborted'",
            id_or_name, row, err);
    if (ret == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s'", id_or_name);
    if (ret < 0)
        return -1;
    if (group_row_load_members(held, row, err) == 0)
        return 0;
    group_row_clear(row);
    return -1;
}

int store_group_next(struct store *store, enum group_state state, uint64_t after,
                     struct group_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(held,
                      "SELECT " GROUP_COLUMNS " FROM groups WHERE state = :state AND sequence > "
                      ":after ORDER BY sequence LIMIT 1",
                      err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":state", state_names[state]);
    statement_bind_int(statement, ":after", (int64_t)after);
    int ret = statement_step(held, statement, ErrInternalError, "", err);
    if (ret <= 0)
        return ret;
    if (group_row_load(row, statement, err) != 0)
        return -1;
    if (group_row_load_members(held, row, err) == 0)
        return 1;
    group_row_clear(row);
    return -1;
}

/* A cursor is the sequence number of the last group of the page before. */
static int cursor_parse(const char *cursor, uint64_t *before, struct err *err)
{
    *before = INT64_MAX;
    if (!cursor)
        return 0;
    size_t digits = strspn(cursor, "0123456789");
    if (digits == 0 || digits > 18 || cursor[digits])
        return err_set(err, ErrInvalidParameter, 0,
                       "cursor is not valid for this list; use the one in `next`");
    *before = strtoull(cursor, NULL, 10);
    return 0;
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

static size_t group_row_bytes(const struct group_row *row)
{
    size_t bytes = text_bytes(row->name) + text_bytes(row->labels) + text_bytes(row->error_message);
    for (size_t i = 0; i < row->member_count; i++)
        bytes += sizeof(row->members[i]) + text_bytes(row->members[i].backing_file) +
                 text_bytes(row->members[i].snapshot_file);
    return bytes;
}

/* Up to `limit` rows; fewer, and *is_full, if they take more than a page may. */
static int group_rows_load(struct store *store, sqlite3_stmt *statement, struct group_row *rows,
                           size_t limit, size_t *count, bool *is_full, struct err *err)
{
    int ret = 0;
    size_t bytes = 0;
    *is_full = false;
    while (*count < limit && !*is_full &&
           (ret = statement_step(store, statement, ErrInternalError, "", err)) > 0) {
        if (group_row_load(&rows[*count], statement, err) != 0)
            return -1;
        ++*count;
        if (group_row_load_members(store, &rows[*count - 1], err) != 0)
            return -1;
        bytes += group_row_bytes(&rows[*count - 1]);
        *is_full = bytes > STORE_PAGE_BYTES_MAX;
    }
    return ret < 0 ? -1 : 0;
}

int store_group_list(struct store *store, const char *cursor, size_t limit, int state,
                     struct group_row **rows, size_t *count, char next[STORE_CURSOR_CHARS + 1],
                     struct err *err)
{
    uint64_t before;
    if (cursor_parse(cursor, &before, err) != 0)
        return -1;
    CLEANUP(store) struct store *held = store_enter_reader(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(held,
                      state < 0 ? "SELECT " GROUP_COLUMNS " FROM groups WHERE sequence < :before "
                                  "ORDER BY sequence DESC LIMIT :limit"
                                : "SELECT " GROUP_COLUMNS
                                  " FROM groups WHERE state = :state AND sequence < :before "
                                  "ORDER BY sequence DESC LIMIT :limit",
                      err);
    struct group_row *loaded = calloc(limit + 1, sizeof(*loaded));
    *count = 0;
    if (!statement || !loaded) {
        free(loaded);
        return statement ? store_out_of_memory(err) : -1;
    }
    statement_bind_int(statement, ":before", (int64_t)before);
    if (state >= 0)
        statement_bind_text(statement, ":state", state_names[state]);
    statement_bind_int(statement, ":limit", (int64_t)limit + 1);
    bool is_full;
    if (group_rows_load(held, statement, loaded, limit + 1, count, &is_full, err) != 0) {
        group_rows_free(loaded, *count);
        return -1;
    }
    /* One more than asked for was read: whether there is one tells whether the list goes on. */
    *next = 0;
    if (*count > limit || is_full) {
        if (*count > limit)
            group_row_clear(&loaded[--*count]);
        snprintf(next, STORE_CURSOR_CHARS + 1, "%" PRIu64, loaded[*count - 1].sequence);
    }
    *rows = loaded;
    return 0;
}

/* ---- changing ---- */

static void group_bind_error(sqlite3_stmt *statement, const struct group_row *row)
{
    if (!row->has_error)
        return; /* what is not bound is NULL */
    statement_bind_text(statement, ":error_code", err_code_name(row->error_code));
    statement_bind_int(statement, ":error_errnum", row->error_errnum);
    statement_bind_text(statement, ":error_message", row->error_message);
    if (row->has_error_member)
        statement_bind_int(statement, ":error_member", (int64_t)row->error_member);
}

static int member_insert(struct store *store, const char *id, size_t position,
                         const struct member_row *member, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "INSERT INTO members (group_id, position, device, backing_file, backing_format, "
        "snapshot_file, format, pause_us, device_id, backing_identity, directory_identity) VALUES "
        "(:id, :position, "
        ":device, :backing_file, :backing_format, :snapshot_file, :format, :pause_us, "
        "(SELECT id FROM devices WHERE name = :device), :backing_identity, :directory_identity)",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    statement_bind_int(statement, ":position", (int64_t)position);
    statement_bind_text(statement, ":device", member->device);
    statement_bind_text(statement, ":backing_file", member->backing_file);
    statement_bind_text(statement, ":backing_format", member->backing_format);
    statement_bind_text(statement, ":snapshot_file", member->snapshot_file);
    statement_bind_text(statement, ":format", member->format);
    statement_bind_text(statement, ":backing_identity", member->backing_identity);
    statement_bind_text(statement, ":directory_identity", member->directory_identity);
    if (member->has_pause)
        statement_bind_int(statement, ":pause_us", (int64_t)member->pause_us);
    return statement_run(store, statement, ErrInternalError, id, err) < 0 ? -1 : 0;
}

/* Invariant 1. The group's members are inserted already. */
static int group_check_devices(struct store *store, const char *id, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "SELECT other.device, groups.name FROM groups JOIN members AS other ON other.group_id = "
        "groups.id "
        "JOIN members AS ours ON ours.group_id = :id AND ours.device_id = other.device_id "
        "WHERE groups.state = 'committing' LIMIT 1",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    int ret = statement_step(store, statement, ErrInternalError, id, err);
    if (ret <= 0)
        return ret;
    return err_set(
        err, ErrDeviceInUse, 0,
        "device '%s' is in use by snapshot group '%s', which is not recorded to the end yet",
        (const char *)sqlite3_column_text(statement, 0),
        (const char *)sqlite3_column_text(statement, 1));
}

/* Deletes failed attempts that are too many or too old; a clock that goes back keeps some for longer. */
static int groups_prune(struct store *store, uint64_t now_us, struct err *err)
{
    const uint64_t age_us = (uint64_t)STORE_ABORTED_DAYS_MAX * 24 * 3600 * 1000000;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "DELETE FROM groups WHERE state = 'aborted' AND (created_at_us < :oldest OR sequence <= "
        "(SELECT sequence FROM groups WHERE state = 'aborted' ORDER BY sequence DESC LIMIT 1 "
        "OFFSET :kept))",
        err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":oldest", now_us > age_us ? (int64_t)(now_us - age_us) : 0);
    statement_bind_int(statement, ":kept", STORE_ABORTED_GROUPS_MAX);
    return statement_run(store, statement, ErrInternalError, "", err) < 0 ? -1 : 0;
}

static int group_insert(struct store *store, const struct group_row *row, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "INSERT INTO groups (" GROUP_COLUMNS ") VALUES (:id, :state, :name, :labels, "
        ":created_at_us, :cut_at_us, :pause_us, :duration_us, :error_code, :error_errnum, "
        ":error_message, :error_member, (SELECT coalesce(max(sequence), 0) + 1 FROM groups))",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    statement_bind_text(statement, ":state", state_names[row->state]);
    statement_bind_text(statement, ":name", row->name);
    statement_bind_text(statement, ":labels", row->labels);
    statement_bind_int(statement, ":created_at_us", (int64_t)row->created_at_us);
    if (row->has_duration)
        statement_bind_int(statement, ":duration_us", (int64_t)row->duration_us);
    group_bind_error(statement, row);
    if (statement_run(store, statement, ErrGroupExists, row->name, err) < 0)
        return -1;
    for (size_t i = 0; i < row->member_count; i++)
        if (member_insert(store, row->id, i, &row->members[i], err) != 0)
            return -1;
    if (groups_prune(store, row->created_at_us, err) != 0)
        return -1;
    return row->state == GROUP_PREPARING ? group_check_devices(store, row->id, err) : 0;
}

int store_group_insert(struct store *store, const struct group_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held || transaction_begin(held, err) != 0)
        return -1;
    return transaction_end(held, group_insert(held, row, err), err);
}

/* Runs a change of state (consuming the statement): exactly one row must have been in the state it
 * comes from. */
static int group_change(struct store *store, sqlite3_stmt *changing, const char *id,
                        enum group_state to, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = changing;
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    int hit = statement_run(store, statement, ErrInternalError, id, err);
    if (hit != 0)
        return hit < 0 ? -1 : 0;
    struct group_row row;
    int found =
        group_find(store, "SELECT " GROUP_COLUMNS " FROM groups WHERE id = :key", id, &row, err);
    if (found == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s'", id);
    if (found < 0)
        return -1;
    err_set(err, ErrInternalError, 0, "snapshot group '%s' cannot go from %s to %s", id,
            state_names[row.state], state_names[to]);
    group_row_clear(&row);
    return -1;
}

static int member_update_identities(struct store *store, const char *id, size_t position,
                                    const struct member_row *member, struct err *err)
{
    if (!member->backing_identity && !member->snapshot_identity)
        return 0;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "UPDATE members SET backing_identity = coalesce(:backing_identity, backing_identity), "
        "snapshot_identity = coalesce(:snapshot_identity, snapshot_identity) "
        "WHERE group_id = :id AND position = :position",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":backing_identity", member->backing_identity);
    statement_bind_text(statement, ":snapshot_identity", member->snapshot_identity);
    statement_bind_text(statement, ":id", id);
    statement_bind_int(statement, ":position", (int64_t)position);
    return statement_run(store, statement, ErrInternalError, id, err) < 0 ? -1 : 0;
}

static int group_begin_commit(struct store *store, const struct group_row *row, struct err *err)
{
    if (group_change(
            store,
            statement_new(
                store,
                "UPDATE groups SET state = 'committing' WHERE id = :id AND state = 'preparing'",
                err),
            row->id, GROUP_COMMITTING, err) != 0)
        return -1;
    for (size_t i = 0; i < row->member_count; i++)
        if (member_update_identities(store, row->id, i, &row->members[i], err) != 0)
            return -1;
    return frozen_files_insert(store, row->frozen, row->frozen_count, err);
}

int store_group_update_committing(struct store *store, const struct group_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held || transaction_begin(held, err) != 0)
        return -1;
    return transaction_end(held, group_begin_commit(held, row, err), err);
}

static int member_update_pause(struct store *store, const char *id, size_t position,
                               const struct member_row *member, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(store,
                      "UPDATE members SET pause_us = :pause_us WHERE group_id = :id AND position = "
                      ":position",
                      err);
    if (!statement)
        return -1;
    if (member->has_pause)
        statement_bind_int(statement, ":pause_us", (int64_t)member->pause_us);
    statement_bind_text(statement, ":id", id);
    statement_bind_int(statement, ":position", (int64_t)position);
    return statement_run(store, statement, ErrInternalError, id, err) < 0 ? -1 : 0;
}

/* Every member's overlay becomes its device's top, if the image that the group froze still is (2). */
static int group_update_tops(struct store *store, const char *id, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        store,
        "UPDATE devices SET top = m.snapshot_file, top_format = m.format, "
        "top_identity = m.snapshot_identity "
        "FROM members AS m WHERE m.group_id = :id AND m.device = devices.name "
        "AND coalesce(m.device_id, devices.id) = devices.id "
        "AND (m.backing_file = devices.top OR m.backing_identity = devices.top_identity)",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    return statement_run(store, statement, ErrInternalError, id, err) < 0 ? -1 : 0;
}

static int group_commit(struct store *store, const struct group_row *row, struct err *err)
{
    sqlite3_stmt *statement = statement_new(
        store,
        "UPDATE groups SET state = 'committed', cut_at_us = :cut_at_us, pause_us = "
        ":pause_us, duration_us = :duration_us WHERE id = :id AND state = 'committing'",
        err);
    if (statement && row->has_cut) {
        statement_bind_int(statement, ":cut_at_us", (int64_t)row->cut_at_us);
        statement_bind_int(statement, ":pause_us", (int64_t)row->pause_us);
    }
    if (statement && row->has_duration)
        statement_bind_int(statement, ":duration_us", (int64_t)row->duration_us);
    if (group_change(store, statement, row->id, GROUP_COMMITTED, err) != 0)
        return -1;
    for (size_t i = 0; i < row->member_count; i++)
        if (member_update_pause(store, row->id, i, &row->members[i], err) != 0)
            return -1;
    return group_update_tops(store, row->id, err);
}

int store_group_update_committed(struct store *store, const struct group_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held || transaction_begin(held, err) != 0)
        return -1;
    return transaction_end(held, group_commit(held, row, err), err);
}

static int group_update_failed(struct store *store, const struct group_row *row, const char *sql,
                               enum group_state to, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held)
        return -1;
    sqlite3_stmt *statement = statement_new(held, sql, err);
    if (statement)
        group_bind_error(statement, row);
    return group_change(held, statement, row->id, to, err);
}

/* Sets `state`, and the error if one is given; what is not given stays. */
#define UPDATE_FAILED(state)                                                                       \
    "UPDATE groups SET state = '" state "', error_code = coalesce(:error_code, error_code), "      \
    "error_errnum = coalesce(:error_errnum, error_errnum), "                                       \
    "error_message = coalesce(:error_message, error_message), "                                    \
    "error_member = coalesce(:error_member, error_member) WHERE id = :id AND state IN "

int store_group_update_aborting(struct store *store, const struct group_row *row, struct err *err)
{
    return group_update_failed(store, row, UPDATE_FAILED("aborting") "('preparing', 'aborting')",
                               GROUP_ABORTING, err);
}

int store_group_update_aborted(struct store *store, const struct group_row *row, struct err *err)
{
    return group_update_failed(store, row, UPDATE_FAILED("aborted") "('preparing', 'aborting')",
                               GROUP_ABORTED, err);
}
