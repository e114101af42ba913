/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `frozen_files`. See frozen-files.h.
 */
#include "store/frozen-files.h"

#include "store/access.h"

#define ROW               struct frozen_file_row
#define COLUMNS(FIRST, X) FIRST(identity, TEXT) X(path, TEXT)
#define NAMES             COLUMN_NAMES(COLUMNS)
#define VALUES            COLUMN_VALUES(COLUMNS)

static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS)};
static const struct table frozen_files = {TABLE("frozen_files")};

void frozen_file_rows_free(struct frozen_file_row *rows, size_t count)
{
    rows_free(&frozen_files, rows, count);
}

int store_frozen_file_insert(struct store_transaction *transaction,
                             const struct frozen_file_row *rows, size_t count, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(writer,
                                              "INSERT INTO frozen_files (" NAMES ") VALUES (" VALUES
                                              ") ON CONFLICT (identity) DO NOTHING",
                                              err);
    int result = statement ? 0 : -1;
    for (size_t i = 0; i < count && result == 0; i++) {
        row_bind(&frozen_files, statement, &rows[i]);
        if (statement_run(writer, statement, ErrInternalError, rows[i].path, err) < 0)
            result = -1;
        sqlite3_reset(statement);
    }
    return transaction_result(transaction, result);
}

int store_frozen_file_list(struct store *store, const char *after, size_t limit,
                           struct frozen_file_row **rows, size_t *count, struct err *err)
{
    return reader_list(store, &frozen_files,
                       "SELECT " NAMES
                       " FROM frozen_files WHERE identity > :after ORDER BY identity LIMIT :limit",
                       after, limit, (void **)rows, count, err);
}

/* ---- who needs a file ---- */

/* The table of a query: the places of images that are the file :identity, or are at :path. */
#define SELF                                                                                       \
    "self (place) AS (SELECT path FROM images WHERE identity = :identity UNION "                   \
    "SELECT path FROM images WHERE path = :path UNION "                                            \
    "SELECT images.path FROM frozen_files CROSS JOIN images ON images.path = frozen_files.path "   \
    "WHERE frozen_files.identity = :identity AND images.identity IS NULL)"

/* Images of which it is not known on what they stand, and those on them. */
#define OTHERS                                                                                     \
    "others (place) AS (SELECT path FROM images WHERE is_complete = 0 AND "                        \
    "path NOT IN (SELECT place FROM self) UNION "                                                  \
    "SELECT path FROM others CROSS JOIN images ON backing = others.place)"

#define GROUPS_OF(place)                                                                           \
    "members CROSS JOIN groups ON groups.id = group_id WHERE backing_image = " place " AND "       \
    "groups.state NOT IN ('aborted', 'deleted')"

static const char USERS[] =
    "WITH RECURSIVE " SELF ", " OTHERS " "
    "SELECT 'merge' AS kind, upper AS name FROM self CROSS JOIN merges ON base = place "
    "WHERE stage IN ('copying', 'copied') "
    "UNION ALL SELECT 'group', groups.name FROM self CROSS JOIN " GROUPS_OF(
        "place") " "
                 "UNION ALL SELECT 'device', name FROM self CROSS JOIN devices ON top_image = "
                 "place "
                 "UNION ALL SELECT 'image', path FROM self CROSS JOIN images ON backing = place "
                 "UNION ALL SELECT 'doubt', path FROM others CROSS JOIN images ON path = place "
                 "WHERE is_kept OR "
                 "EXISTS (SELECT 1 FROM devices WHERE top_image = place) OR "
                 "EXISTS (SELECT 1 FROM " GROUPS_OF("place") ") LIMIT 1";

/* Another file that was at :path, and is elsewhere now, stays frozen. */
static const char RELEASE[] =
    "DELETE FROM frozen_files WHERE identity = :identity OR (path = :path AND NOT EXISTS "
    "(SELECT 1 FROM images WHERE images.identity = frozen_files.identity AND images.path <> "
    ":path))";

static const char *const kind_names[] = {
    [FROZEN_MERGE] = "merge", [FROZEN_GROUP] = "group", [FROZEN_DEVICE] = "device",
    [FROZEN_IMAGE] = "image", [FROZEN_DOUBT] = "doubt",
};

#undef ROW
#define ROW                    struct frozen_user_row
#define USER_COLUMNS(FIRST, X) FIRST(kind, CHOICE) X(name, TEXT)
static const struct column user_columns[] = {COLUMN_ENTRIES(USER_COLUMNS)};
static const struct table users = {.name = "frozen_files",
                                   .row_bytes = sizeof(ROW),
                                   .columns = user_columns,
                                   .column_count = sizeof(user_columns) / sizeof(*user_columns),
                                   .choices = kind_names,
                                   .choice_count = FROZEN_DOUBT + 1};

void frozen_user_row_clear(struct frozen_user_row *row)
{
    row_clear(&users, row);
}

int store_frozen_file_images(struct store *store, const struct frozen_file_row *file,
                             struct frozen_file_row **rows, size_t *count, struct err *err)
{
    *count = 0;
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(
        &query, store, "WITH " SELF " SELECT :identity AS identity, place AS path FROM self", err);
    if (!statement)
        return -1;
    row_bind(&frozen_files, statement, file);
    return rows_load(query.reader, &frozen_files, statement, (void **)rows, count, err);
}

/* 1: *user; 0: nobody needs it; -1. */
static int user_find(struct connection *writer, const struct frozen_file_row *file,
                     struct frozen_user_row *user, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, USERS, err);
    if (!statement)
        return -1;
    row_bind(&frozen_files, statement, file);
    int found = statement_step(writer, statement, ErrInternalError, file->path, err);
    return found > 0 && row_load(&users, statement, user, err) != 0 ? -1 : found;
}

int store_frozen_file_release(struct store_transaction *transaction,
                              const struct frozen_file_row *file, struct frozen_user_row *user,
                              struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int found = user_find(writer, file, user, err);
    if (found > 0)
        return 0;
    CLEANUP(statement)
    sqlite3_stmt *statement = found < 0 ? NULL : statement_begin(writer, RELEASE, err);
    if (statement)
        row_bind(&frozen_files, statement, file);
    bool has_failed =
        !statement || statement_run(writer, statement, ErrInternalError, file->path, err) < 0;
    return has_failed ? transaction_result(transaction, -1) : 1;
}
