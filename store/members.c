/* SPDX-License-Identifier: Apache-2.0
 *
 * See members.h.
 */
#include "store/members.h"

#include "store/table.h"

#define ROW struct member_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(device, TEXT)                                                                            \
    X(backing_file, TEXT_OR_NULL)                                                                  \
    X(backing_format, TEXT_OR_NULL)                                                                \
    X(backing_identity, TEXT_OR_NULL)                                                              \
    X(base_file, TEXT_OR_NULL)                                                                     \
    X(snapshot_file, TEXT)                                                                         \
    X(format, TEXT)                                                                                \
    X(snapshot_identity, TEXT_OR_NULL)                                                             \
    X(directory_identity, TEXT_OR_NULL)                                                            \
    X(size_bytes, INTEGER, KNOWN_BY(has_size))                                                     \
    X(grown_bytes, INTEGER, KNOWN_BY(has_grown))                                                   \
    X(pause_us, INTEGER, KNOWN_BY(has_pause))                                                      \
    X(copy_wait_us, INTEGER, KNOWN_BY(has_copy_wait))                                              \
    X(is_settled, INTEGER)
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)

/* Where the device is attached, its own row has the clients. */
#define CLIENTS                                                                                    \
    "coalesce((SELECT allowed_clients FROM devices AS d WHERE d.name = members.device AND "        \
    "d.id = coalesce(members.device_id, d.id)), allowed_clients) AS allowed_clients"
#define CLONES                                                                                     \
    "(SELECT json_group_array(name) FROM (SELECT name FROM devices WHERE origin_how = 'clone' "    \
    "AND "                                                                                         \
    "origin_group = members.group_id AND origin_device = members.device AND state <> 'creating' "  \
    "ORDER BY name)) AS clones"
static const struct column columns[] = {
    COLUMN_ENTRIES(COLUMNS) COLUMN_ENTRY(device_id, TEXT_OR_NULL)
        COLUMN_ENTRY(backing_image, TEXT_OR_NULL) COLUMN_ENTRY(allowed_clients, TEXT_OR_NULL)
            COLUMN_ENTRY(clones, TEXT_OR_NULL)};
static const struct table members = {TABLE("members")};

void member_rows_free(struct member_row *rows, size_t count)
{
    rows_free(&members, rows, count);
}

int members_load(struct connection *reader, struct group_row *row, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_begin(reader,
                        "SELECT " NAMES ", device_id, backing_image, " CLIENTS ", " CLONES
                        " FROM members WHERE group_id = :group_id ORDER BY position",
                        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":group_id", row->id);
    return rows_load(reader, &members, statement, (void **)&row->members, &row->member_count, err);
}

/* Runs `sql` once for each member, with :group_id, :position and the member's columns bound. */
static int members_change(struct connection *writer, const struct group_row *row, const char *sql,
                          struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    for (size_t i = 0; i < row->member_count; i++) {
        sqlite3_clear_bindings(statement);
        statement_bind_text(statement, ":group_id", row->id);
        statement_bind_int(statement, ":position", (int64_t)i);
        row_bind(&members, statement, &row->members[i]);
        if (statement_run(writer, statement, ErrInternalError, row->id, err) < 0)
            return -1;
        sqlite3_reset(statement);
    }
    return 0;
}

/* Runs `sql` once, with :group_id bound. */
static int members_run(struct connection *writer, const struct group_row *row, const char *sql,
                       struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":group_id", row->id);
    return statement_run(writer, statement, ErrInternalError, row->id, err) < 0 ? -1 : 0;
}

#define OF_DEVICE(column) "(SELECT " column " FROM devices WHERE name = :device)"
#define INSERT(backing_image)                                                                      \
    "INSERT INTO members (group_id, position, " NAMES ", device_id, backing_image) "               \
    "VALUES (:group_id, :position, " VALUES ", " OF_DEVICE("id") ", " backing_image ")"

int members_insert(struct connection *writer, const struct group_row *row, struct err *err)
{
    const char *sql =
        row->state == GROUP_PREPARING ? INSERT(OF_DEVICE("top_image")) : INSERT("NULL");
    return members_change(writer, row, sql, err);
}

int members_update_identities(struct connection *writer, const struct group_row *row,
                              struct err *err)
{
    return members_change(
        writer, row,
        "UPDATE members SET backing_identity = coalesce(:backing_identity, backing_identity), "
        "snapshot_identity = coalesce(:snapshot_identity, snapshot_identity) "
        "WHERE group_id = :group_id AND position = :position",
        err);
}

/* The overlay becomes its device's top, once, if the image that the group froze still is: G2 in
 * groups.c. A member from before schema 3 names its device only. */
#define MOVE_TOPS                                                                                  \
    "UPDATE devices SET revision = revision + 1, top = m.snapshot_file, top_format = m.format, "   \
    "top_identity = m.snapshot_identity, top_image = "                                             \
    "(SELECT path FROM images WHERE path = m.snapshot_file), last_snapshot_at_us = "               \
    "(SELECT iif(kind = 'cut', last_snapshot_at_us, coalesce(cut_at_us, created_at_us)) "          \
    "FROM groups WHERE id = :group_id) "                                                           \
    "FROM members AS m WHERE m.group_id = :group_id AND m.is_settled = 0 AND devices.id = "        \
    "coalesce(m.device_id, (SELECT id FROM devices AS d WHERE d.name = m.device)) "                \
    "AND (m.backing_file = devices.top OR m.backing_identity = devices.top_identity)"

/* Then, after a rollback, the device's content comes from the group that it went back to. */
#define SET_ORIGINS                                                                                \
    "UPDATE devices SET origin_how = 'rollback', origin_group = g.rolled_back_to, "                \
    "origin_device = m.device, origin_at_us = coalesce(g.cut_at_us, g.created_at_us) "             \
    "FROM members AS m JOIN groups AS g ON g.id = m.group_id WHERE m.group_id = :group_id "        \
    "AND m.is_settled = 0 AND g.kind = 'rollback' AND devices.top = m.snapshot_file"

#define RECORD_WAITS "UPDATE members SET pause_us = :pause_us, copy_wait_us = :copy_wait_us"
#define IS_MEMBER    " WHERE group_id = :group_id AND position = :position"

int members_update_settled(struct connection *writer, const struct group_row *row, struct err *err)
{
#define IF_SETTLED " AND m.position = :position AND :is_settled"
    if (members_change(writer, row, MOVE_TOPS IF_SETTLED, err) != 0 ||
        members_change(writer, row, SET_ORIGINS IF_SETTLED, err) != 0)
        return -1;
    return members_change(writer, row, RECORD_WAITS ", is_settled = 1" IS_MEMBER " AND :is_settled",
                          err);
}

int members_update_committed(struct connection *writer, const struct group_row *row,
                             struct err *err)
{
    if (members_run(writer, row, MOVE_TOPS, err) != 0 ||
        members_run(writer, row, SET_ORIGINS, err) != 0)
        return -1;
    return members_change(writer, row, RECORD_WAITS ", is_settled = 1" IS_MEMBER, err);
}
