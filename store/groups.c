/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables `groups` and `members`. See groups.h.
 *
 *   preparing -> committing -> committed        store_group_update_committing, _committed; between
 *       |                          |            them store_group_update_cut, any number of times
 *       |                          +-> deleting -> deleted          _deleting, _deleted
 *       +-> aborting -> aborted                 store_group_update_aborting, _aborted
 *       +------------------^
 *
 * A group that only cuts is `deleted` in place of `committed`: nothing needs what it has frozen.
 *
 * A change of state names the states it may come from; from any other it is our own bug
 * (InternalError) and nothing changes.
 *
 * Invariants, so that a device's row never goes back to an older top than the one in memory:
 *   G1. A device is in at most one group that is `committing` without that member being settled: no
 *       other group of it is inserted before. A row that cannot be brought to `committed` therefore
 *       never has a later group on top of it. No assert: the device's holder sees to it, in block/.
 *   G2. A group moves a device's top only if it is that very device (by id) and its top is the
 *       image that the group froze, and once (is_settled). So committing twice, or after a later
 *       group of a settled member, changes nothing; and committing the oldest first (recovery.c)
 *       follows the chain upwards. No assert: the statement has the condition (members.c).
 */
#include "store/groups.h"

#include "store/access.h"
#include "store/frozen-files.h"
#include "store/group-list.h"
#include "store/group-prune.h"
#include "store/image-changes.h"
#include "store/members.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* All but `sequence`, which the insert itself finds out, `revision`, 1 by default, and `holds`,
 * which have a table of their own. */
#define ROW struct group_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(id, ID)                                                                                  \
    X(state, CHOICE)                                                                               \
    X(kind, CHOICE, AMONG(kind_names, GROUP_KIND_CUT + 1))                                         \
    X(rolled_back_to, TEXT_OR_NULL)                                                                \
    X(name, TEXT)                                                                                  \
    X(request_hash, TEXT_OR_NULL)                                                                  \
    X(labels, TEXT)                                                                                \
    X(selector, TEXT_OR_NULL)                                                                      \
    X(created_at_us, INTEGER)                                                                      \
    X(cut_at_us, INTEGER, KNOWN_BY(has_cut))                                                       \
    X(pause_us, INTEGER, KNOWN_BY(has_cut))                                                        \
    X(sealed_us, INTEGER, KNOWN_BY(has_sealed))                                                    \
    X(duration_us, INTEGER, KNOWN_BY(has_duration))                                                \
    ERROR_COLUMNS(X)                                                                               \
    X(error_member, INTEGER, KNOWN_BY(has_error_member))
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)
#define HOLDS                                                                                      \
    "(SELECT nullif(json_group_array(name), '[]') FROM (SELECT name FROM holds WHERE group_id = "  \
    "groups.id ORDER BY name)) AS holds"
#define SELECT "SELECT " NAMES ", sequence, revision, " HOLDS " FROM groups "

static const char *const state_names[] = {
    [GROUP_PREPARING] = "preparing", [GROUP_COMMITTING] = "committing",
    [GROUP_COMMITTED] = "committed", [GROUP_ABORTING] = "aborting",
    [GROUP_ABORTED] = "aborted",     [GROUP_DELETING] = "deleting",
    [GROUP_DELETED] = "deleted",
};
static const char *const kind_names[] = {
    [GROUP_KIND_SNAPSHOT] = "snapshot",
    [GROUP_KIND_ROLLBACK] = "rollback",
    [GROUP_KIND_CUT] = "cut",
};
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS) COLUMN_ENTRY(
    sequence, INTEGER) COLUMN_ENTRY(revision, INTEGER) COLUMN_ENTRY(holds, TEXT_OR_NULL)};
static const struct table groups = {TABLE("groups"), .choices = state_names,
                                    .choice_count = GROUP_DELETED + 1};

const char *group_state_name(enum group_state state)
{
    return state_names[state];
}

const char *group_kind_name(enum group_kind kind)
{
    return kind_names[kind];
}

bool group_row_is_cut(const struct group_row *row)
{
    return row->state == GROUP_COMMITTING && row->has_cut;
}

const char *group_row_state_name(const struct group_row *row)
{
    return group_row_is_cut(row) ? GROUP_STATE_CUT : group_state_name(row->state);
}

struct member_row *group_row_member(const struct group_row *row, const char *device)
{
    for (size_t i = 0; i < row->member_count; i++)
        if (strcmp(row->members[i].device, device) == 0)
            return &row->members[i];
    return NULL;
}

void group_row_clear(struct group_row *row)
{
    member_rows_free(row->members, row->member_count);
    frozen_file_rows_free(row->frozen, row->frozen_count);
    row_clear(&groups, row);
}

void group_rows_free(struct group_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        group_row_clear(&rows[i]);
    free(rows);
}

/* ---- reading ---- */

/* The next row of the statement, with its members. 1: *row; 0: there is none; -1: *err. */
static int group_load(struct connection *connection, sqlite3_stmt *statement, struct group_row *row,
                      struct err *err)
{
    int found = statement_step(connection, statement, ErrInternalError, "", err);
    if (found <= 0)
        return found;
    if (row_load(&groups, statement, row, err) != 0)
        return -1;
    if (members_load(connection, row, err) == 0)
        return 1;
    group_row_clear(row);
    return -1;
}

int store_group_get(struct store *store, const char *id_or_name, struct group_row *row,
                    struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement =
        query_begin(&query, store,
                    SELECT "WHERE id = :key OR (name = :key AND state NOT IN ('aborting', "
                           "'aborted', 'deleted') AND kind <> 'cut') ORDER BY id <> :key",
                    err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":key", id_or_name);
    int found = group_load(query.reader, statement, row, err);
    if (found == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s'", id_or_name);
    return found < 0 ? -1 : 0;
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

static size_t group_row_bytes(const struct group_row *row)
{
    size_t bytes = text_bytes(row->name) + text_bytes(row->labels) + text_bytes(row->holds) +
                   text_bytes(row->error_message);
    for (size_t i = 0; i < row->member_count; i++)
        bytes += sizeof(row->members[i]) + text_bytes(row->members[i].backing_file) +
                 text_bytes(row->members[i].snapshot_file) + text_bytes(row->members[i].clones);
    return bytes;
}

/* Loads the group of a sequence number, which the same transaction has found. */
static int group_load_found(struct connection *reader, uint64_t sequence, struct group_row *row,
                            struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(reader, SELECT "WHERE sequence = :sequence", err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":sequence", (int64_t)sequence);
    int found = group_load(reader, statement, row, err);
    assert(found != 0);
    return found > 0 ? 0 : -1;
}

/* Fewer rows, and *next behind the last one, if they take more than a page may. */
static int group_rows_load(struct connection *reader, const uint64_t *sequences, size_t found,
                           struct group_row *rows, size_t *count, uint64_t *next, struct err *err)
{
    size_t bytes = 0;
    for (*count = 0; *count < found; bytes += group_row_bytes(&rows[(*count)++])) {
        if (bytes > STORE_PAGE_BYTES_MAX) {
            *next = sequences[*count - 1];
            return 0;
        }
        if (group_load_found(reader, sequences[*count], &rows[*count], err) != 0)
            return -1;
    }
    return 0;
}

int store_group_list(struct store *store, const struct group_list_filter *filter, uint64_t before,
                     size_t limit, struct group_row **rows, size_t *count, uint64_t *next,
                     struct err *err)
{
    size_t found;
    CLEANUP_FREE uint64_t *sequences = calloc(limit, sizeof(*sequences));
    struct group_row *loaded = calloc(limit, sizeof(*loaded));
    *count = 0;
    if (!sequences || !loaded) {
        free(loaded);
        return store_out_of_memory(err);
    }
    CLEANUP(reader) struct connection *reader = reader_begin(store, err);
    if (!reader ||
        group_list_find(reader, filter, before, limit, sequences, &found, next, err) != 0 ||
        group_rows_load(reader, sequences, found, loaded, count, next, err) != 0) {
        group_rows_free(loaded, *count);
        return -1;
    }
    *rows = loaded;
    return 0;
}

static int group_rows_step(struct connection *reader, sqlite3_stmt *statement, size_t limit,
                           struct group_row *rows, size_t *count, struct err *err)
{
    int found = 1;
    size_t bytes = 0;
    while (*count < limit && bytes <= STORE_PAGE_BYTES_MAX &&
           (found = group_load(reader, statement, &rows[*count], err)) > 0)
        bytes += group_row_bytes(&rows[(*count)++]);
    return found < 0 ? -1 : 0;
}

int store_group_list_oldest(struct store *store, enum group_state state, uint64_t after,
                            size_t limit, struct group_row **rows, size_t *count, struct err *err)
{
    *count = 0;
    *rows = calloc(limit, sizeof(**rows));
    if (!*rows)
        return store_out_of_memory(err);
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(
        &query, store, SELECT "WHERE state = :state AND sequence > :after ORDER BY sequence", err);
    if (statement) {
        statement_bind_text(statement, ":state", state_names[state]);
        statement_bind_int(statement, ":after", (int64_t)after);
        if (group_rows_step(query.reader, statement, limit, *rows, count, err) == 0)
            return 0;
    }
    group_rows_free(steal(*rows), *count);
    return -1;
}

int store_group_newest(struct store *store, uint64_t *at_us, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(
        &query, store, "SELECT max(created_at_us + coalesce(duration_us, 0)) FROM groups", err);
    if (!statement || statement_step(query.reader, statement, ErrInternalError, "", err) < 0)
        return -1;
    *at_us = (uint64_t)sqlite3_column_int64(statement, 0);
    return 0;
}

/* ---- changing ---- */

/* Runs a query of the group with that id, `row` bound if given; how many rows it changed, or -1. */
static int group_run(struct connection *writer, const char *sql, const char *id,
                     const struct group_row *row, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    if (row)
        row_bind(&groups, statement, row);
    return statement_run(writer, statement, ErrGroupExists, row ? row->name : id, err);
}

/* Invariant 1. The group's members are inserted already. */
static int group_check_devices(struct connection *writer, const char *id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(
        writer, &statement,
        "SELECT other.device, groups.name, groups.id FROM groups "
        "JOIN members AS other ON other.group_id = groups.id "
        "JOIN members AS ours ON ours.group_id = :key AND ours.device_id = other.device_id "
        "WHERE groups.state = 'committing' AND other.is_settled = 0 LIMIT 1",
        id, err);
    if (found <= 0)
        return found;
    err_set(err, ErrDeviceInUse, 0,
            "device '%s' is in use by snapshot group '%s', which is not recorded to the end yet",
            (const char *)sqlite3_column_text(statement, 0),
            (const char *)sqlite3_column_text(statement, 1));
    return err_add_holder(err, "group", (const char *)sqlite3_column_text(statement, 2));
}

/* Whether all images that a rollback's overlays are on are those that its target has now, and stay
 * as they are. */
static int group_check_merges(struct connection *writer, const char *id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found =
        statement_find(writer, &statement,
                       "SELECT base_file FROM members WHERE group_id = :key AND "
                       "base_file IS NOT NULL AND "
                       "(EXISTS (SELECT 1 FROM merges WHERE " IS_MERGED(
                           "base_file") ") OR NOT EXISTS (SELECT 1 FROM members AS target "
                                        "WHERE target.group_id = (SELECT rolled_back_to "
                                        "FROM groups WHERE id = :key) "
                                        "AND target.device = members.device AND "
                                        "coalesce(target.backing_image, target.backing_file) = "
                                        "members.base_file)) LIMIT 1",
                       id, err);
    return found > 0
               ? images_report_merge(writer, (const char *)sqlite3_column_text(statement, 0), err)
               : found;
}

/* The group to which a rollback goes back may have gone since it was looked at. */
static int group_check_target(struct connection *writer, const struct group_row *row,
                              struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(writer, &statement,
                               "SELECT 1 FROM groups WHERE id = :key AND state = 'committed'",
                               row->rolled_back_to, err);
    if (found == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s' any more",
                       row->rolled_back_to);
    return found < 0 ? -1 : 0;
}

static int group_insert(struct store_transaction *transaction, const struct group_row *row,
                        struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    if (group_run(writer,
                  "INSERT INTO groups (" NAMES ", sequence, is_late) VALUES (" VALUES
                  ", (SELECT coalesce(max(sequence), 0) + 1 FROM groups), :created_at_us < "
                  "(SELECT coalesce(max(created_at_us), 0) FROM groups WHERE is_late = 0))",
                  row->id, row, err) < 0 ||
        members_insert(writer, row, err) != 0 ||
        groups_prune(transaction, row->created_at_us, err) != 0)
        return -1;
    if (row->state != GROUP_PREPARING)
        return 0;
    if ((row->rolled_back_to && (group_check_target(writer, row, err) != 0 ||
                                 group_check_merges(writer, row->id, err) != 0)) ||
        images_insert_overlays(writer, row->id, row->member_count, err) != 0)
        return -1;
    return group_check_devices(writer, row->id, err);
}

int store_group_insert(struct store_transaction *transaction, const struct group_row *row,
                       struct err *err)
{
    assert(row->state == GROUP_PREPARING || row->state == GROUP_ABORTED);
    return transaction_result(transaction, group_insert(transaction, row, err));
}

/* A change of state that hit no row: the group does not exist, or is in another state. Returns
 * -1. */
static int group_report_state(struct connection *writer, const char *id, enum group_state to,
                              struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found =
        statement_find(writer, &statement, "SELECT state FROM groups WHERE id = :key", id, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s'", id);
    return err_set(err, ErrInternalError, 0, "snapshot group '%s' cannot go from %s to %s", id,
                   (const char *)sqlite3_column_text(statement, 0), state_names[to]);
}

/* Runs a change of state: exactly one row must be in a state that it may come from. */
static int group_change(struct connection *writer, const char *sql, const struct group_row *row,
                        enum group_state to, struct err *err)
{
    int changed = group_run(writer, sql, row->id, row, err);
    if (changed == 0)
        return group_report_state(writer, row->id, to, err);
    return changed < 0 ? -1 : 0;
}

int store_group_update_committing(struct store_transaction *transaction,
                                  const struct group_row *row, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    if (group_change(writer,
                     "UPDATE groups SET state = 'committing', revision = revision + 1 WHERE id = "
                     ":id AND state = 'preparing'",
                     row, GROUP_COMMITTING, err) != 0 ||
        members_update_identities(writer, row, err) != 0 ||
        images_identify_overlays(writer, row->id, err) != 0)
        return transaction_result(transaction, -1);
    return store_frozen_file_insert(transaction, row->frozen, row->frozen_count, err);
}

int store_group_update_cut(struct store_transaction *transaction, const struct group_row *row,
                           struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool failed = group_change(writer,
                               "UPDATE groups SET revision = revision + 1, "
                               "cut_at_us = :cut_at_us, pause_us = :pause_us "
                               "WHERE id = :id AND state = 'committing'",
                               row, GROUP_COMMITTING, err) != 0 ||
                  members_update_settled(writer, row, err) != 0;
    assert(row->has_cut);
    return transaction_result(transaction, failed ? -1 : 0);
}

int store_group_update_committed(struct store_transaction *transaction, const struct group_row *row,
                                 struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool failed =
        group_change(writer,
                     "UPDATE groups SET state = iif(kind = 'cut', 'deleted', 'committed'), "
                     "revision = revision + 1, "
                     "cut_at_us = :cut_at_us, "
                     "pause_us = :pause_us, sealed_us = :sealed_us, duration_us = :duration_us "
                     "WHERE id = :id AND state = 'committing'",
                     row, GROUP_COMMITTED, err) != 0 ||
        members_update_committed(writer, row, err) != 0;
    return transaction_result(transaction, failed ? -1 : 0);
}

/* Sets `state`, and the error if one is given; what is not given stays. */
#define UPDATE_FAILED(state)                                                                       \
    "UPDATE groups SET state = '" state                                                            \
    "', revision = revision + 1, error_code = coalesce(:error_code, error_code), "                 \
    "error_errnum = coalesce(:error_errnum, error_errnum), "                                       \
    "error_message = coalesce(:error_message, error_message), "                                    \
    "error_member = coalesce(:error_member, error_member) "                                        \
    "WHERE id = :id AND state IN ('preparing', 'aborting')"

int store_group_update_aborting(struct store_transaction *transaction, const struct group_row *row,
                                struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    return transaction_result(
        transaction, group_change(writer, UPDATE_FAILED("aborting"), row, GROUP_ABORTING, err));
}

int store_group_update_aborted(struct store_transaction *transaction, const struct group_row *row,
                               struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool failed = group_change(writer, UPDATE_FAILED("aborted"), row, GROUP_ABORTED, err) != 0 ||
                  images_delete_overlays(writer, row->id, err) != 0;
    return transaction_result(transaction, failed ? -1 : 0);
}

int store_group_update_labels(struct store_transaction *transaction, const struct group_row *row,
                              struct err *err)
{
    int changed = group_run(transaction_writer(transaction),
                            "UPDATE groups SET labels = :labels, revision = revision + 1 "
                            "WHERE id = :id AND revision = :revision",
                            row->id, row, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

int store_group_update_deleting(struct store_transaction *transaction, const struct group_row *row,
                                struct err *err)
{
    int changed = group_run(transaction_writer(transaction),
                            "UPDATE groups SET state = 'deleting', revision = revision + 1 "
                            "WHERE id = :id AND revision = :revision AND "
                            "state IN ('committed', 'deleting') AND "
                            "NOT EXISTS (SELECT 1 FROM holds WHERE group_id = :id) AND "
                            "NOT EXISTS (SELECT 1 FROM jobs WHERE group_id = :id AND "
                            "kind = 'copy' AND finished_at_us IS NULL)",
                            row->id, row, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

int store_group_update_deleted(struct store_transaction *transaction, const struct group_row *row,
                               struct err *err)
{
    return transaction_result(transaction, group_change(transaction_writer(transaction),
                                                        "UPDATE groups SET state = 'deleted', "
                                                        "revision = revision + 1 "
                                                        "WHERE id = :id AND state = 'deleting'",
                                                        row, GROUP_DELETED, err));
}

int store_group_find_deleted(struct store *store, const char *image, char id[STORE_ID_CHARS + 1],
                             struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    int found = query_find(&query, store,
                           "SELECT groups.id FROM members JOIN groups ON groups.id = group_id "
                           "WHERE backing_image = :key AND state = 'deleted' AND kind <> 'cut' "
                           "ORDER BY sequence DESC LIMIT 1",
                           image, err);
    if (found > 0)
        snprintf(id, STORE_ID_CHARS + 1, "%s",
                 (const char *)sqlite3_column_text(query.statement, 0));
    return found;
}
