/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `images`: changing. See image-changes.h.
 */
#include "store/image-changes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ROW struct image_row

const char *const image_role_names[] = {
    [IMAGE_GIVEN] = "given",
    [IMAGE_ATTACHED] = "attached",
    [IMAGE_MADE] = "made",
};
static const struct column columns[] = {COLUMN_ENTRIES(IMAGE_COLUMNS)};
static const struct table images = {TABLE("images"), .choices = image_role_names,
                                    .choice_count = IMAGE_MADE + 1};

/* Nothing stands on the image, and no device but :id has it as its top. */
#define IS_UNUSED                                                                                  \
    "NOT EXISTS (SELECT 1 FROM images AS child WHERE child.backing = images.path) AND "            \
    "NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path AND id <> :id)"

/* Runs a change with :id bound; how many rows it changed, or -1. */
static int count_by_id(struct connection *writer, const char *sql, const char *id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    return statement_run(writer, statement, ErrInternalError, id, err);
}

static int change_by_id(struct connection *writer, const char *sql, const char *id, struct err *err)
{
    return count_by_id(writer, sql, id, err) < 0 ? -1 : 0;
}

/* Returns -1. */
static int image_refuse(const char *path, struct err *err)
{
    return err_set(err, ErrImageInUse, 0,
                   "the file that was at '%s' is still needed; put it back, or choose another name",
                   path);
}

/* ---- chains ---- */

/* What the columns of a row that is there become; `excluded` is the new row. */
#define IS_OTHER_FILE "identity <> excluded.identity"
#define UPDATE_CHAIN                                                                               \
    "identity = coalesce(excluded.identity, identity), format = excluded.format, "                 \
    "backing = excluded.backing, is_complete = 1, "                                                \
    "role = CASE WHEN " IS_OTHER_FILE " OR (role = 'given' AND excluded.role = 'attached') "       \
    "THEN excluded.role ELSE role END, "                                                           \
    "made_by = CASE WHEN " IS_OTHER_FILE " THEN NULL ELSE made_by END, "                           \
    "is_kept = CASE WHEN " IS_OTHER_FILE " OR excluded.role = 'attached' THEN 0 ELSE is_kept END"

int images_insert_chain(struct connection *writer, const struct image_row *chain, size_t count,
                        enum image_role role, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct image_row row = {.path = chain[i].path,
                                      .identity = chain[i].identity,
                                      .format = chain[i].format,
                                      .backing = i + 1 < count ? chain[i + 1].path : NULL,
                                      .role = i == 0 ? role : IMAGE_GIVEN};
        if (row_run(&images, writer,
                    "INSERT INTO images (path, identity, format, backing, role) "
                    "VALUES (:path, :identity, :format, :backing, :role) "
                    "ON CONFLICT (path) DO UPDATE SET " UPDATE_CHAIN,
                    &row, ErrInternalError, row.path, err) < 0)
            return -1;
    }
    return 0;
}

int images_insert_unknown(struct connection *writer, const struct image_row *image, struct err *err)
{
    return row_run(&images, writer,
                   "INSERT INTO images (path, identity, format, role, is_complete) "
                   "VALUES (:path, :identity, :format, :role, 0) ON CONFLICT (path) DO NOTHING",
                   image, ErrInternalError, image->path, err) < 0
               ? -1
               : 0;
}

/* A merge that has the image, by the group whose DELETE goes on with it, if there is one, and by
 * its upper image; and the job that goes on with it. */
#define FIND_MERGE                                                                                 \
    "WITH RECURSIVE " BUSY ", own (merge, own_group) AS ("                                         \
    "SELECT id, group_id FROM merges UNION "                                                       \
    "SELECT merges.id, jobs.group_id FROM merges JOIN jobs ON jobs.id = job_id) "                  \
    "SELECT groups.name, "                                                                         \
    "(SELECT id FROM jobs WHERE finished_at_us IS NULL AND kind = 'delete' AND "                   \
    "(id = job_id OR group_id = own_group) LIMIT 1) AS going_on, upper "                           \
    "FROM busy CROSS JOIN merges ON merges.id = busy.merge "                                       \
    "CROSS JOIN own ON own.merge = busy.merge "                                                    \
    "LEFT JOIN groups ON groups.id = own_group AND state <> 'deleted' "                            \
    "WHERE busy_place = :key ORDER BY going_on IS NULL, groups.name IS NULL LIMIT 1"

/* The merge has no job any more: what goes on with it. Returns -1. */
static int image_report_left(const char *path, const char *group, const char *upper,
                             struct err *err)
{
    if (group)
        return err_set(err, ErrGroupDeleting, 0,
                       "image '%s' is half merged with another one, by a job that ended early; "
                       "DELETE snapshot group '%s' again",
                       path, group);
    return err_set(err, ErrGroupDeleting, 0,
                   "image '%s' is half merged with another one, by a job that ended early; a new "
                   "job goes on when you attach '%s', as a device that is not read-only",
                   path, upper);
}

int images_report_merge(struct connection *writer, const char *path, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(writer, &statement, FIND_MERGE, path, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return err_set(err, ErrDeviceInUse, 0,
                       "image '%s' was merged with another one meanwhile; try again", path);
    const char *group = (const char *)sqlite3_column_text(statement, 0);
    const char *job = (const char *)sqlite3_column_text(statement, 1);
    if (!job)
        return image_report_left(path, group, (const char *)sqlite3_column_text(statement, 2), err);
    err_set(err, ErrDeviceInUse, 0,
            "image '%s' is being merged with another one by job '%s'; try again when that has "
            "ended",
            path, job);
    return err_add_holder(err, "job", job);
}

/* One image, `backing` the one above it. What is pushed may be stood on till its place is taken. */
#define CHECK_ATTACH                                                                               \
    "WITH RECURSIVE " BUSY " SELECT 1 FROM busy WHERE busy_place = :path AND "                     \
    "NOT EXISTS (SELECT 1 FROM images WHERE path = :backing AND backing = :path) AND "             \
    "NOT EXISTS (SELECT 1 FROM merges WHERE upper = :path AND stage IN ('planned', 'copying'))"

/* The top, `backing` the one beneath it. That of a device that was detached while it was being
 * merged is as it was, if nothing else has changed: the merge goes on, or is dropped. */
#define CHECK_ATTACH_TOP                                                                           \
    "WITH RECURSIVE " BUSY " SELECT 1 FROM busy WHERE busy_place = :path AND NOT EXISTS "          \
    "(SELECT 1 FROM images CROSS JOIN merges ON merges.id = merge WHERE path = :path AND "         \
    "is_kept AND identity IS :identity AND format = :format AND backing = :backing AND "           \
    "upper = path AND base = backing AND stage IN ('planned', 'copying'))"

/* Its base, or one that went. */
#define CHECK_UNMERGED                                                                             \
    "SELECT 1 FROM merges WHERE stage IN ('redirected', 'done') AND (base = :path OR EXISTS "      \
    "(SELECT 1 FROM json_each(files) WHERE json_extract(json_each.value, '$.path') = :path))"

/* `sql` finds an image that a merge has. */
static int image_check(struct connection *writer, const char *sql, const struct image_row *row,
                       struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    row_bind(&images, statement, row);
    int found = statement_step(writer, statement, ErrInternalError, row->path, err);
    return found > 0 ? images_report_merge(writer, row->path, err) : found;
}

int images_check_attach(struct connection *writer, const struct image_row *chain, size_t count,
                        struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct image_row row = {
            .path = chain[i].path, .identity = chain[i].identity, .format = chain[i].format};
        if (i > 0)
            row.backing = chain[i - 1].path;
        else if (count > 1)
            row.backing = chain[1].path;
        if (image_check(writer, i == 0 ? CHECK_ATTACH_TOP : CHECK_ATTACH, &row, err) != 0)
            return -1;
    }
    return 0;
}

int images_check_unmerged(struct connection *writer, const struct image_row *chain, size_t count,
                          struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (image_check(writer, CHECK_UNMERGED, &chain[i], err) != 0)
            return -1;
    return 0;
}

/* A device that would write to the image, and one that has it in its chain. */
#define USER_THAT_WRITES                                                                           \
    "SELECT name, state FROM devices "                                                             \
    "WHERE top_image = :path AND read_only = 0 AND id <> :id LIMIT 1"
#define USER                                                                                       \
    "WITH RECURSIVE above (place) AS (VALUES (:path) UNION "                                       \
    "SELECT path FROM above CROSS JOIN images ON backing = place) "                                \
    "SELECT name, state FROM above CROSS JOIN devices ON top_image = place WHERE id <> :id "       \
    "ORDER BY state LIMIT 1"

/* The device that `statement` has found, and its state. Returns -1. */
static int user_report(sqlite3_stmt *statement, const char *path, struct err *err)
{
    const char *name = (const char *)sqlite3_column_text(statement, 0);
    if (strcmp((const char *)sqlite3_column_text(statement, 1), "attached") == 0)
        return err_set(err, ErrImageInUse, 0, "image '%s' is in use by device '%s'", path, name);
    return err_set(err, ErrDeviceInUse, 0,
                   "image '%s' is in use by device '%s', which is being attached or detached; try "
                   "again",
                   path, name);
}

int images_check_users(struct connection *writer, const struct device_row *row, struct err *err)
{
    for (size_t i = 0; i < row->chain_count; i++) {
        const char *path = row->chain[i].path;
        const bool is_written = i == 0 && !row->read_only;
        CLEANUP(statement)
        sqlite3_stmt *statement =
            statement_begin(writer, is_written ? USER : USER_THAT_WRITES, err);
        if (!statement)
            return -1;
        statement_bind_text(statement, ":path", path);
        statement_bind_text(statement, ":id", row->id);
        int found = statement_step(writer, statement, ErrInternalError, path, err);
        if (found != 0)
            return found < 0 ? -1 : user_report(statement, path, err);
    }
    return 0;
}

/* ---- links ---- */

/* The last image that is recorded from `path` on, if what is under it is not known: 1, *last (heap)
 * and *depth; 0: it is known; -1: *err. */
static int images_find_last(struct connection *writer, const char *path, char **last, size_t *depth,
                            struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found =
        statement_find(writer, &statement,
                       "WITH RECURSIVE " CHAIN_FROM(
                           ":key") "SELECT place, depth FROM chain "
                                   "CROSS JOIN images ON path = place WHERE is_complete = 0",
                       path, err);
    if (found <= 0)
        return found;
    *last = strdup((const char *)sqlite3_column_text(statement, 0));
    *depth = (size_t)sqlite3_column_int64(statement, 1);
    return *last ? 1 : store_out_of_memory(err);
}

/* Every row that names the image `from` names `to` instead, which may be there already. */
static int images_rename(struct connection *writer, const char *from, const char *to,
                         struct err *err)
{
    static const char *const steps[] = {
        ("INSERT INTO images SELECT :to, identity, format, backing, role, made_by, is_kept, "
         "is_complete FROM images WHERE path = :from ON CONFLICT (path) DO NOTHING"),
        "UPDATE images SET backing = :to WHERE backing = :from",
        "UPDATE devices SET top_image = :to WHERE top_image = :from",
        "UPDATE members SET backing_image = :to WHERE backing_image = :from",
        "DELETE FROM images WHERE path = :from",
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, steps[i], err);
        if (!statement)
            return -1;
        statement_bind_text(statement, ":from", from);
        statement_bind_text(statement, ":to", to);
        if (statement_run(writer, statement, ErrInternalError, from, err) < 0)
            return -1;
    }
    return 0;
}

int images_resolve(struct connection *writer, const char *path, const struct image_row *chain,
                   size_t count, struct err *err)
{
    CLEANUP_FREE char *last = NULL;
    size_t depth = 0;
    int found = images_find_last(writer, path, &last, &depth, err);
    if (found <= 0)
        return found;
    bool is_link = depth < count && strcmp(last, chain[depth].path) != 0;
    return is_link ? images_rename(writer, last, chain[depth].path, err) : 0;
}

/* ---- clones ---- */

int images_insert_made(struct connection *writer, const struct image_row *image, struct err *err)
{
    int changed =
        row_run(&images, writer,
                "INSERT INTO images (path, format, backing, role, made_by, is_complete) "
                "VALUES (:path, :format, :backing, :role, :made_by, :is_complete) "
                "ON CONFLICT (path) DO UPDATE SET identity = NULL, format = excluded.format, "
                "backing = excluded.backing, role = excluded.role, made_by = excluded.made_by, "
                "is_kept = 0, is_complete = excluded.is_complete WHERE " IMAGE_IS_UNNEEDED,
                image, ErrInternalError, image->path, err);
    return changed == 0 ? image_refuse(image->path, err) : changed < 0 ? -1 : 0;
}

int images_delete_unmade(struct connection *writer, const char *device_id, struct err *err)
{
    return change_by_id(writer,
                        "DELETE FROM images WHERE made_by = :id AND path = "
                        "(SELECT top_image FROM devices WHERE id = :id AND state = 'creating') "
                        "AND " IS_UNUSED,
                        device_id, err);
}

/* ---- overlays ---- */

/* What is away under the name of an overlay keeps its row. Returns -1. */
static int overlays_refuse(struct connection *writer, const char *group_id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(writer, &statement,
                               "SELECT path FROM members JOIN images ON path = snapshot_file "
                               "WHERE group_id = :key AND made_by IS NOT :key LIMIT 1",
                               group_id, err);
    assert(found != 0);
    return found < 0 ? -1 : image_refuse((const char *)sqlite3_column_text(statement, 0), err);
}

int images_insert_overlays(struct connection *writer, const char *group_id, size_t count,
                           struct err *err)
{
    int changed = count_by_id(
        writer,
        "INSERT INTO images (path, format, backing, role, made_by, is_complete) "
        "SELECT snapshot_file, members.format, base.path, 'made', :id, base.path IS NOT NULL "
        "FROM members LEFT JOIN images AS base ON base.path = coalesce(base_file, backing_image) "
        "WHERE group_id = :id "
        "ON CONFLICT (path) DO UPDATE SET identity = NULL, format = excluded.format, "
        "backing = excluded.backing, role = excluded.role, made_by = excluded.made_by, "
        "is_kept = 0, is_complete = excluded.is_complete WHERE " IMAGE_IS_UNNEEDED,
        group_id, err);
    if (changed < 0)
        return -1;
    return (size_t)changed == count ? 0 : overlays_refuse(writer, group_id, err);
}

int images_identify_overlays(struct connection *writer, const char *group_id, struct err *err)
{
    return change_by_id(writer,
                        "UPDATE images SET identity = snapshot_identity FROM members "
                        "WHERE group_id = :id AND path = snapshot_file AND made_by = :id",
                        group_id, err);
}

int images_delete_overlays(struct connection *writer, const char *group_id, struct err *err)
{
    return change_by_id(writer,
                        "DELETE FROM images WHERE made_by = :id AND path IN "
                        "(SELECT snapshot_file FROM members WHERE group_id = :id) AND " IS_UNUSED,
                        group_id, err);
}

/* ---- tops ---- */

int images_keep_top(struct connection *writer, const char *device_id, struct err *err)
{
    return change_by_id(writer,
                        "UPDATE images SET is_kept = 1 WHERE path = "
                        "(SELECT top_image FROM devices WHERE id = :id AND read_only = 0)",
                        device_id, err);
}

int images_delete_top(struct connection *writer, const char *device_id, struct err *err)
{
    return change_by_id(writer,
                        "DELETE FROM images WHERE path = "
                        "(SELECT top_image FROM devices WHERE id = :id) AND " IS_UNUSED,
                        device_id, err);
}

/* ---- plans ---- */

#define TOP "(SELECT top_image FROM devices WHERE id = :id)"

int images_plan_for_new(struct connection *writer, const char *device_id, struct err *err)
{
    return change_by_id(writer,
                        "INSERT OR IGNORE INTO due_plans SELECT base FROM merges "
                        "JOIN jobs ON jobs.id = job_id WHERE upper = " TOP " AND " MERGE_IS_LEFT,
                        device_id, err);
}

/* A path, if nobody needs the image but the device and its top, and one image at most. */
#define PLAN_OF(place)                                                                             \
    "INSERT OR IGNORE INTO due_plans SELECT path FROM images WHERE path = " place                  \
    " AND NOT is_kept AND NOT EXISTS (" IMAGE_GROUPS ") AND "                                      \
    "NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path AND id <> :id) AND "          \
    "(SELECT count(*) FROM (SELECT 1 FROM images AS child WHERE child.backing = images.path "      \
    "AND child.path IS NOT " TOP " LIMIT 2)) < 2"

int images_plan_without(struct connection *writer, const char *device_id, bool top_goes,
                        struct err *err)
{
    return change_by_id(writer,
                        top_goes ? PLAN_OF("(SELECT backing FROM images WHERE path = " TOP ")")
                                 : PLAN_OF(TOP) " AND EXISTS (SELECT 1 FROM devices "
                                                "WHERE id = :id AND read_only)",
                        device_id, err);
}

/* ---- creations that are undone ---- */

int images_delete_created(struct connection *writer, const char *device_id, struct err *err)
{
    if (change_by_id(writer,
                     "DELETE FROM images WHERE (role = 'attached' OR made_by = :id) AND path = "
                     "(SELECT top_image FROM devices WHERE id = :id) AND " IS_UNUSED,
                     device_id, err) != 0)
        return -1;
    return change_by_id(writer, "UPDATE devices SET top_image = NULL WHERE id = :id", device_id,
                        err);
}
