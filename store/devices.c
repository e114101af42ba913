/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `devices`. See devices.h.
 */
#include "store/devices.h"

#include "store/access.h"
#include "store/image-changes.h"
#include "store/image-prune.h"
#include "store/images.h"

#include <string.h>

#define ROW struct device_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(id, ID)                                                                                  \
    X(state, CHOICE)                                                                               \
    X(name, TEXT)                                                                                  \
    X(image, TEXT)                                                                                 \
    X(image_identity, TEXT_OR_NULL)                                                                \
    X(format, TEXT)                                                                                \
    X(top, TEXT)                                                                                   \
    X(top_identity, TEXT_OR_NULL)                                                                  \
    X(directory_identity, TEXT_OR_NULL)                                                            \
    X(top_format, TEXT)                                                                            \
    X(read_only, INTEGER)                                                                          \
    X(cluster_size_bytes, INTEGER)                                                                 \
    X(extended_l2, INTEGER)                                                                        \
    X(removed_by, TEXT_OR_NULL)                                                                    \
    X(origin_how, TEXT_OR_NULL)                                                                    \
    X(origin_group, TEXT_OR_NULL)                                                                  \
    X(origin_device, TEXT_OR_NULL)                                                                 \
    X(origin_at_us, INTEGER, KNOWN_BY(has_origin))                                                 \
    X(labels, TEXT)                                                                                \
    X(allowed_clients, TEXT_OR_NULL)                                                               \
    X(created_at_us, INTEGER)                                                                      \
    X(request_hash, TEXT_OR_NULL)                                                                  \
    X(last_snapshot_at_us, INTEGER, KNOWN_BY(has_snapshot))
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)
#define SELECT "SELECT " NAMES ", revision, top_image FROM devices "

static const char *const state_names[] = {
    [DEVICE_ROW_CREATING] = "creating",
    [DEVICE_ROW_ATTACHED] = "attached",
    [DEVICE_ROW_DETACHING] = "detaching",
};
/* `revision` is 1 by default; `top_image` follows from the chain. */
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS) COLUMN_ENTRY(revision, INTEGER)
                                            COLUMN_ENTRY(top_image, TEXT_OR_NULL)};
static const struct table devices = {TABLE("devices"), .choices = state_names,
                                     .choice_count = DEVICE_ROW_DETACHING + 1};

void device_row_clear(struct device_row *row)
{
    image_rows_free(row->chain, row->chain_count);
    row_clear(&devices, row);
}

int device_row_copy(struct device_row *to, const struct device_row *from, struct err *err)
{
    int result = row_copy(&devices, to, from, err);
    to->chain = NULL;
    to->chain_count = 0;
    return result;
}

void device_rows_free(struct device_row *rows, size_t count)
{
    rows_free(&devices, rows, count);
}

static int device_not_found(const char *name, struct err *err)
{
    return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
}

static int device_change(struct store_transaction *transaction, const char *sql,
                         const struct device_row *row, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int changed = row_run(&devices, writer, sql, row, ErrDeviceExists, row->name, err);
    if (changed == 0)
        device_not_found(row->name, err);
    return transaction_result(transaction, changed > 0 ? 0 : -1);
}

/* ---- chains ---- */

/* Records the chain, or the top alone if there is none. */
static int chain_insert(struct connection *writer, const struct device_row *row, struct err *err)
{
    enum image_role role = row->read_only ? IMAGE_GIVEN : IMAGE_ATTACHED;
    const struct image_row top = {
        .path = row->top, .identity = row->top_identity, .format = row->top_format, .role = role};
    return row->chain_count > 0
               ? images_insert_chain(writer, row->chain, row->chain_count, role, err)
               : images_insert_unknown(writer, &top, err);
}

/* Records the chain and which of its images is the top of the device. */
static int device_record_chain(struct store_transaction *transaction, const struct device_row *row,
                               struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    struct device_row top = *row;
    top.top_image = row->chain_count > 0 ? row->chain[0].path : row->top;
    if (chain_insert(writer, row, err) != 0)
        return transaction_result(transaction, -1);
    return device_change(transaction, "UPDATE devices SET top_image = :top_image WHERE id = :id",
                         &top, err);
}

int store_device_update_chain(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    if (row->top_image &&
        images_resolve(writer, row->top_image, row->chain, row->chain_count, err) != 0)
        return transaction_result(transaction, -1);
    return device_record_chain(transaction, row, err);
}

/* ---- clones ---- */

/* The frozen image of the member that the device is cloned from: heap, or NULL without *err if it
 * has no row. The group may have gone since it was looked at. */
static int clone_find_base(struct connection *writer, const struct device_row *row, char **base,
                           struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_begin(writer,
                        "SELECT backing_image FROM members JOIN groups ON groups.id = group_id "
                        "WHERE group_id = :origin_group AND device = :origin_device AND "
                        "state = 'committed'",
                        err);
    if (!statement)
        return -1;
    row_bind(&devices, statement, row);
    int found = statement_step(writer, statement, ErrInternalError, row->name, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group '%s' any more",
                       row->origin_group);
    const char *path = (const char *)sqlite3_column_text(statement, 0);
    *base = path ? strdup(path) : NULL;
    return path && !*base ? store_out_of_memory(err) : 0;
}

/* Whether the image is the one that was opened, and stays. */
static int clone_check_base(struct connection *writer, const struct device_row *row,
                            const char *base, struct err *err)
{
    if (row->origin_base && strcmp(row->origin_base, base) != 0)
        return images_report_merge(writer, row->origin_base, err);
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(writer, &statement, "SELECT 1 FROM merges WHERE " IS_MERGED(":key"),
                               base, err);
    return found > 0 ? images_report_merge(writer, base, err) : found;
}

static int clone_insert_image(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err)
{
    CLEANUP_FREE char *base = NULL;
    struct connection *writer = transaction_writer(transaction);
    struct device_row top = *row;
    top.top_image = row->top;
    if (clone_find_base(writer, row, &base, err) != 0 ||
        (base && clone_check_base(writer, row, base, err) != 0))
        return transaction_result(transaction, -1);
    const struct image_row image = {.path = row->top,
                                    .format = row->top_format,
                                    .backing = base,
                                    .role = IMAGE_MADE,
                                    .made_by = (char *)row->id,
                                    .is_complete = base != NULL};
    if (images_insert_made(writer, &image, err) != 0)
        return transaction_result(transaction, -1);
    return device_change(transaction, "UPDATE devices SET top_image = :top_image WHERE id = :id",
                         &top, err);
}

/* ---- changing ---- */

/* A merge may have ended since the chain was opened: then it has images that are gone. */
static int chain_check(struct store_transaction *transaction, const struct device_row *row,
                       struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool has_merged = atomic_load(&transaction->merges_generation) != row->chain_seen;
    if (images_check_attach(writer, row->chain, row->chain_count, err) != 0 ||
        (has_merged && images_check_unmerged(writer, row->chain, row->chain_count, err) != 0) ||
        images_check_users(writer, row, err) != 0)
        return transaction_result(transaction, -1);
    return 0;
}

int store_device_insert(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err)
{
    if (device_change(transaction, "INSERT INTO devices (" NAMES ") VALUES (" VALUES ")", row,
                      err) != 0)
        return -1;
    if (row->state == DEVICE_ROW_CREATING)
        return row->origin_how ? clone_insert_image(transaction, row, err) : 0;
    if (chain_check(transaction, row, err) != 0 || device_record_chain(transaction, row, err) != 0)
        return -1;
    return transaction_result(transaction,
                              images_plan_for_new(transaction_writer(transaction), row->id, err));
}

/* What was copied of a live top into the image beneath it is a part of a disk: the top does not go
 * meanwhile. */
static int device_check_removal(struct connection *writer, const struct device_row *row,
                                struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    if (!row->removed_by)
        return 0;
    int found = statement_find(writer, &statement,
                               "SELECT upper FROM merges JOIN devices ON top_image = upper "
                               "WHERE devices.id = :key AND stage = 'copying' LIMIT 1",
                               row->id, err);
    return found > 0
               ? images_report_merge(writer, (const char *)sqlite3_column_text(statement, 0), err)
               : found;
}

/* The top may be another one than that of the row by now: its identity stays. */
int store_device_update_state(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err)
{
    if (device_check_removal(transaction_writer(transaction), row, err) != 0)
        return transaction_result(transaction, -1);
    if (device_change(transaction,
                      "UPDATE devices SET state = :state, removed_by = :removed_by, "
                      "image_identity = coalesce(:image_identity, image_identity), "
                      "top_identity = iif(top = :top, coalesce(:top_identity, top_identity), "
                      "top_identity) WHERE id = :id",
                      row, err) != 0)
        return -1;
    if (row->chain_count > 0)
        return device_record_chain(transaction, row, err);
    if (row->state != DEVICE_ROW_CREATING)
        return 0;
    return transaction_result(transaction,
                              images_delete_created(transaction_writer(transaction), row->id, err));
}

int store_device_update(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int changed = row_run(&devices, writer,
                          "UPDATE devices SET labels = :labels, "
                          "allowed_clients = :allowed_clients, revision = revision + 1 "
                          "WHERE id = :id AND revision = :revision",
                          row, ErrDeviceExists, row->name, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

int store_device_check_revision(struct store_transaction *transaction, const struct device_row *row,
                                struct err *err)
{
    int same = device_change(transaction,
                             "UPDATE devices SET revision = revision "
                             "WHERE id = :id AND revision = :revision",
                             row, err);
    if (same != 0 && err->code == ErrDeviceNotFound)
        err_set(err, ErrPreconditionFailed, 0, "device '%s' has changed; get it again", row->name);
    return same;
}

int store_device_delete(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    const bool top_goes = row->removed_by || row->state == DEVICE_ROW_CREATING;
    if (images_plan_without(writer, row->id, top_goes, err) != 0 ||
        images_delete_unmade(writer, row->id, err) != 0 ||
        (row->removed_by ? images_delete_top(writer, row->id, err)
                         : images_keep_top(writer, row->id, err)) != 0)
        return transaction_result(transaction, -1);
    if (device_change(transaction, "DELETE FROM devices WHERE id = :id", row, err) != 0)
        return -1;
    return transaction_result(transaction, images_prune(transaction, err));
}

static int device_select(struct store *store, const char *sql, const char *key,
                         struct device_row *row, struct err *err)
{
    int found = reader_get(store, &devices, sql, key, row, err);
    if (found == 0)
        return device_not_found(key, err);
    return found < 0 ? -1 : 0;
}

int store_device_get(struct store *store, const char *name, struct device_row *row, struct err *err)
{
    return device_select(store, SELECT "WHERE name = :key", name, row, err);
}

int store_device_get_by_id(struct store *store, const char *id, struct device_row *row,
                           struct err *err)
{
    return device_select(store, SELECT "WHERE id = :key", id, row, err);
}

#define NOT_MADE "is no overlay or clone that this daemon made"

static int top_is_kept(const struct device_row *row, const char *why, const char *who,
                       struct err *err)
{
    return err_set(err, ErrImageIsKept, 0, "image '%s' %s%s%s, so it stays", row->top, why,
                   who ? " " : "", who ? who : "");
}

/* Whether a column says who needs the top. */
static const char *needed_by(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

/* The top is about to be another one. */
static int top_is_being_frozen(const struct device_row *row, const char *group, struct err *err)
{
    err_set(err, ErrDeviceInUse, 0, "device '%s' is being frozen by snapshot group '%s'", row->name,
            group);
    return err_add_holder(err, "group", group);
}

/* The columns of top_check_unneeded(), of the top of the device :id. */
static const char find_maker_sql[] =
    "SELECT made_by, (SELECT path FROM images AS above WHERE above.backing = images.path "
    "LIMIT 1), (SELECT groups.name FROM members JOIN groups ON groups.id = group_id "
    "WHERE backing_image = images.path AND state NOT IN ('aborted', 'deleted') LIMIT 1), "
    "(SELECT name FROM devices WHERE top_image = images.path AND id <> :id LIMIT 1), "
    "(SELECT groups.id FROM members JOIN groups ON groups.id = group_id "
    "WHERE backing_image = images.path AND NOT is_settled AND "
    "state IN ('preparing', 'committing', 'cut') LIMIT 1) "
    "FROM images WHERE path = (SELECT top_image FROM devices WHERE id = :id)";

/* Column 0: who made it, or NULL; the others: who needs it. */
static int top_check_unneeded(sqlite3_stmt *statement, const struct device_row *row,
                              struct err *err)
{
    if (needed_by(statement, 4))
        return top_is_being_frozen(row, needed_by(statement, 4), err);
    if (!needed_by(statement, 0))
        return top_is_kept(row, NOT_MADE, NULL, err);
    if (needed_by(statement, 1))
        return top_is_kept(row, "is beneath", needed_by(statement, 1), err);
    if (needed_by(statement, 2))
        return top_is_kept(row, "is frozen by snapshot group", needed_by(statement, 2), err);
    if (needed_by(statement, 3))
        return top_is_kept(row, "is open for device", needed_by(statement, 3), err);
    return 0;
}

int store_device_find_maker(struct store *store, const struct device_row *row, char **made_by,
                            struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(&query, store, find_maker_sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    int found = statement_step(query.reader, statement, ErrInternalError, row->name, err);
    if (found == 0)
        return top_is_kept(row, NOT_MADE, NULL, err);
    if (found < 0 || top_check_unneeded(statement, row, err) != 0)
        return -1;
    *made_by = strdup(needed_by(statement, 0));
    return *made_by ? 0 : store_out_of_memory(err);
}

/* Labels are JSON objects of strings, compared as such. */
int store_device_select(struct store *store, const char *labels, size_t limit,
                        struct device_row **rows, size_t *count, struct err *err)
{
    *count = 0;
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(
        &query, store,
        SELECT
        "WHERE state = 'attached' AND NOT EXISTS "
        "(SELECT 1 FROM json_each(:labels) AS wanted WHERE NOT EXISTS "
        "(SELECT 1 FROM json_each(devices.labels) AS own "
        "WHERE own.key = wanted.key AND own.value = wanted.value)) ORDER BY name LIMIT :limit",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":labels", labels);
    statement_bind_int(statement, ":limit", (int64_t)limit);
    return rows_load(query.reader, &devices, statement, (void **)rows, count, err);
}

uint64_t store_devices_generation(const struct store *store)
{
    return atomic_load(&store->transaction.devices_generation);
}

int store_device_list(struct store *store, const char *after, size_t limit,
                      struct device_row **rows, size_t *count, struct err *err)
{
    return reader_list(store, &devices, SELECT "WHERE name > :after ORDER BY name LIMIT :limit",
                       after, limit, (void **)rows, count, err);
}
