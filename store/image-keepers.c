/* SPDX-License-Identifier: Apache-2.0
 *
 * See image-keepers.h. One query, of look-ups in indexes only, for each image; it also finds out
 * whether something else is on top of it, which is rare. Then another query looks at that.
 */
#include "store/image-keepers.h"

#include "store/access.h"
#include "store/image-changes.h"

#include <stdlib.h>

#define WALK_IMAGES_MAX 4096

/* A condition of groups that have members, with their images. */
#define GROUP_HAS_MEMBERS                                                                          \
    "groups.kind <> 'cut' AND state NOT IN ('preparing', 'aborting', 'aborted', 'deleting', "      \
    "'deleted')"

#define ROW struct keeper_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(image, TEXT)                                                                             \
    X(kind, CHOICE)                                                                                \
    X(name, TEXT)

static const char *const kind_names[] = {
    [KEEPER_GROUP] = "group",   [KEEPER_DEVICE] = "device", [KEEPER_IMAGE] = "image",
    [KEEPER_OTHERS] = "others", [KEEPER_BRANCH] = "branch",
};
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS)};
static const struct table keepers = {TABLE("images"), .choices = kind_names,
                                     .choice_count = KEEPER_BRANCH + 1};

void keeper_rows_free(struct keeper_row *rows, size_t count)
{
    rows_free(&keepers, rows, count);
}

/* Of one image. `branch`: more stands on it than :name, the one above it in the chain ("": it is
 * the top). */
static const char IMAGE_KEEPERS[] =
    "SELECT :image AS image, 'group' AS kind, groups.name AS name FROM members "
    "CROSS JOIN groups ON groups.id = group_id WHERE backing_image = :image "
    "AND " GROUP_HAS_MEMBERS " "
    "UNION ALL SELECT :image, 'device', name FROM devices "
    "WHERE top_image = :image AND id <> :id AND state <> 'creating' "
    "UNION ALL SELECT :image, 'branch', :name WHERE EXISTS "
    "(SELECT 1 FROM images WHERE backing = :image AND path <> :name)";

/* What stands on :image, but for :name and what is above that; the query is cut short where that is
 * too much. */
static const char BRANCH_KEEPERS[] =
    "WITH RECURSIVE branch (place) AS ("
    "SELECT * FROM (SELECT path FROM images WHERE backing = :image AND path <> :name LIMIT :limit) "
    "UNION ALL SELECT path FROM branch CROSS JOIN images ON backing = place LIMIT :walk) "
    "SELECT :image AS image, 'device' AS kind, name FROM branch "
    "CROSS JOIN devices ON top_image = place WHERE state <> 'creating' "
    "UNION SELECT :image, 'group', groups.name FROM branch "
    "CROSS JOIN members ON backing_image = place CROSS JOIN groups ON groups.id = group_id "
    "WHERE " GROUP_HAS_MEMBERS " AND NOT EXISTS (SELECT 1 FROM members AS own "
    "WHERE own.group_id = groups.id AND own.backing_image = :image) "
    "UNION SELECT :image, 'image', path FROM branch CROSS JOIN images ON path = place "
    "WHERE is_kept AND NOT EXISTS (SELECT 1 FROM devices WHERE top_image = path) "
    "ORDER BY kind, name LIMIT :limit";

/* Appends rows, which are freed on failure. */
static int rows_add(struct keeper_row *more, size_t more_count, struct keeper_row **rows,
                    size_t *count, struct err *err)
{
    struct keeper_row *grown =
        more_count > 0 ? reallocarray(*rows, *count + more_count, sizeof(*grown)) : *rows;
    if (more_count > 0 && !grown) {
        keeper_rows_free(more, more_count);
        return store_out_of_memory(err);
    }
    *rows = grown;
    for (size_t i = 0; i < more_count; i++)
        grown[(*count)++] = more[i];
    free(more);
    return 0;
}

/* Appends the rows of `sql` with :image, :name and :id bound. */
static int rows_find(struct connection *reader, const char *sql, const struct keeper_row *of,
                     const char *device_id, struct keeper_row **rows, size_t *count,
                     struct err *err)
{
    struct keeper_row *found;
    size_t found_count;
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(reader, sql, err);
    if (!statement)
        return -1;
    row_bind(&keepers, statement, of);
    statement_bind_text(statement, ":id", device_id);
    statement_bind_int(statement, ":limit", STORE_KEEPERS_MAX + 1);
    statement_bind_int(statement, ":walk", WALK_IMAGES_MAX);
    if (rows_load(reader, &keepers, statement, (void **)&found, &found_count, err) != 0)
        return -1;
    if (found_count > STORE_KEEPERS_MAX)
        found[STORE_KEEPERS_MAX].kind = KEEPER_OTHERS;
    return rows_add(found, found_count, rows, count, err);
}

/* In place of a last row of kind `branch` come those that it stands for. */
static int branch_resolve(struct connection *reader, struct keeper_row **rows, size_t *count,
                          struct err *err)
{
    if (*count == 0 || (*rows)[*count - 1].kind != KEEPER_BRANCH)
        return 0;
    struct keeper_row branch = (*rows)[--*count];
    int result = rows_find(reader, BRANCH_KEEPERS, &branch, "", rows, count, err);
    row_clear(&keepers, &branch);
    return result;
}

int store_image_keepers(struct store *store, const char *const *chain, size_t length,
                        const char *device_id, struct keeper_row **rows, size_t *count,
                        struct err *err)
{
    *rows = NULL;
    *count = 0;
    CLEANUP(reader) struct connection *reader = reader_begin(store, err);
    int result = reader ? 0 : -1;
    for (size_t i = 0; i < length && result == 0; i++) {
        const struct keeper_row of = {.image = (char *)chain[i],
                                      .name = i > 0 ? (char *)chain[i - 1] : ""};
        result = rows_find(reader, IMAGE_KEEPERS, &of, device_id, rows, count, err);
        if (result == 0)
            result = branch_resolve(reader, rows, count, err);
    }
    if (result != 0) {
        keeper_rows_free(steal(*rows), *count);
        *count = 0;
    }
    return result;
}
