/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `images`: reading, and chains without a device. See images.h.
 */
#include "store/images.h"

#include "store/access.h"
#include "store/image-changes.h"

#define ROW   struct image_row
#define NAMES COLUMN_NAMES(IMAGE_COLUMNS)

static const struct column columns[] = {COLUMN_ENTRIES(IMAGE_COLUMNS)};
static const struct table images = {TABLE("images"), .choices = image_role_names,
                                    .choice_count = IMAGE_MADE + 1};

/* A row of a tree also has who needs it. */
#define NEEDED_BY                                                                                  \
    "(" IMAGE_GROUPS " LIMIT 1) AS group_name, "                                                   \
    "coalesce((SELECT name FROM devices WHERE top_image = images.path LIMIT 1), "                  \
    "(" IMAGE_TO_BE_TOP " LIMIT 1)) AS device, "                                                   \
    "EXISTS (SELECT 1 FROM devices WHERE top_image = images.path AND read_only) AS is_read"
static const struct column tree_columns[] = {COLUMN_ENTRIES(IMAGE_COLUMNS) COLUMN_ENTRY(
    group_name, TEXT_OR_NULL) COLUMN_ENTRY(device, TEXT_OR_NULL) COLUMN_ENTRY(is_read, INTEGER)};
static const struct table tree_images = {.name = "images",
                                         .row_bytes = sizeof(ROW),
                                         .columns = tree_columns,
                                         .column_count =
                                             sizeof(tree_columns) / sizeof(*tree_columns),
                                         .choices = image_role_names,
                                         .choice_count = IMAGE_MADE + 1};

void image_row_clear(struct image_row *row)
{
    row_clear(&tree_images, row);
}

void image_rows_free(struct image_row *rows, size_t count)
{
    rows_free(&tree_images, rows, count);
}

int store_image_get(struct store *store, const char *path, struct image_row *row, struct err *err)
{
    return reader_get(store, &images, "SELECT " NAMES " FROM images WHERE path = :key", path, row,
                      err);
}

int store_image_is_needed(struct store *store, const char *path, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    return query_find(&query, store,
                      "SELECT 1 FROM images WHERE path = :key AND NOT (" IMAGE_IS_UNNEEDED ")",
                      path, err);
}

/* The rows of `sql` with :path bound. */
static int image_list(struct store *store, const struct table *table, const char *sql,
                      const char *path, struct image_row **rows, size_t *count, struct err *err)
{
    *count = 0;
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(&query, store, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":path", path);
    return rows_load(query.reader, table, statement, (void **)rows, count, err);
}

int store_image_chain(struct store *store, const char *path, struct image_row **rows, size_t *count,
                      struct err *err)
{
    return image_list(store, &images,
                      "WITH RECURSIVE " CHAIN_FROM(
                          ":path") "SELECT " NAMES
                                   " FROM chain CROSS JOIN images ON path = place ORDER BY depth",
                      path, rows, count, err);
}

/* A row on a way that leads back to itself, which no file can be, is left out. */
int store_image_tree(struct store *store, const char *path, struct image_row **rows, size_t *count,
                     struct err *err)
{
    return image_list(
        store, &tree_images,
        "WITH RECURSIVE " CHAIN_FROM(
            ":path") ", " DOUBT ", tree (place, height) AS ("
                     "SELECT * FROM (SELECT path, 0 FROM chain CROSS JOIN images ON path = place "
                     "WHERE backing IS NULL LIMIT 1) UNION ALL "
                     "SELECT path, height + 1 FROM tree CROSS JOIN images ON backing = place) "
                     "SELECT path, identity, format, backing, role, made_by, is_kept, "
                     "is_complete AND NOT (height = 0 AND " IS_DOUBTFUL
                     ") AS is_complete, " NEEDED_BY
                     " FROM tree CROSS JOIN images ON path = place ORDER BY height, path",
        path, rows, count, err);
}

int store_image_list_incomplete(struct store *store, const char *after, size_t limit,
                                struct image_row **rows, size_t *count, struct err *err)
{
    return reader_list(store, &images,
                       "SELECT " NAMES " FROM images WHERE is_complete = 0 AND path > :after "
                       "ORDER BY path LIMIT :limit",
                       after, limit, (void **)rows, count, err);
}

int store_image_record_chain(struct store_transaction *transaction, const char *path,
                             const struct image_row *chain, size_t count, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool has_failed = images_resolve(writer, path, chain, count, err) != 0 ||
                      images_insert_chain(writer, chain, count, IMAGE_GIVEN, err) != 0;
    return transaction_result(transaction, has_failed ? -1 : 0);
}

int store_image_forget(struct store_transaction *transaction, const char *path, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    const struct image_row row = {.path = (char *)path};
    bool has_failed =
        row_run(&images, writer,
                "UPDATE images SET backing = NULL, is_complete = 0 WHERE path = :path AND "
                "NOT " IMAGE_IS_HALF_MERGED " AND "
                "NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path) AND "
                "NOT EXISTS (" IMAGE_TO_BE_TOP ")",
                &row, ErrInternalError, path, err) < 0 ||
        row_run(&images, writer,
                "DELETE FROM images WHERE path = :path AND NOT EXISTS (" IMAGE_GROUPS ") AND "
                "NOT " IMAGE_IS_HALF_MERGED " AND "
                "NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path) AND "
                "NOT EXISTS (" IMAGE_TO_BE_TOP ") AND "
                "NOT EXISTS (SELECT 1 FROM images AS child WHERE child.backing = images.path)",
                &row, ErrInternalError, path, err) < 0;
    return transaction_result(transaction, has_failed ? -1 : 0);
}
