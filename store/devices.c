/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `devices`. See store.h.
 */
#include "store/internal.h"

#include <stdio.h>
#include <string.h>

#define DEVICE_COLUMNS                                                                             \
    "id, state, name, image, format, top, top_format, read_only, labels, created_at_us, "          \
    "cluster_size_bytes, extended_l2, image_identity, top_identity, directory_identity"

static const char *const state_names[] = {
    [DEVICE_ROW_CREATING] = "creating",
    [DEVICE_ROW_ATTACHED] = "attached",
    [DEVICE_ROW_DETACHING] = "detaching",
};

void device_row_clear(struct device_row *row)
{
    free(row->name);
    free(row->image);
    free(row->image_identity);
    free(row->format);
    free(row->top);
    free(row->top_identity);
    free(row->directory_identity);
    free(row->top_format);
    free(row->labels);
    memset(row, 0, sizeof(*row));
}

void device_rows_free(struct device_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        device_row_clear(&rows[i]);
    free(rows);
}

/* Reads the columns DEVICE_COLUMNS of the current row. */
static int device_row_load(struct device_row *row, sqlite3_stmt *statement, struct err *err)
{
    static const int needed[] = {0, 2, 3, 4, 5, 6, 8};
    bool short_of_memory = false;
    int state;
    if (statement_choice(statement, 1, state_names, DEVICE_ROW_DETACHING + 1, &state, "devices",
                         err) != 0 ||
        statement_check_there(statement, needed, sizeof(needed) / sizeof(*needed), "devices",
                              err) != 0)
        return -1;
    *row = (struct device_row){
        .state = (enum device_row_state)state,
        .name = statement_text(statement, 2, &short_of_memory),
        .image = statement_text(statement, 3, &short_of_memory),
        .format = statement_text(statement, 4, &short_of_memory),
        .top = statement_text(statement, 5, &short_of_memory),
        .top_format = statement_text(statement, 6, &short_of_memory),
        .read_only = sqlite3_column_int(statement, 7),
        .labels = statement_text(statement, 8, &short_of_memory),
        .created_at_us = (uint64_t)sqlite3_column_int64(statement, 9),
        .cluster_size_bytes = (uint32_t)sqlite3_column_int(statement, 10),
        .extended_l2 = sqlite3_column_int(statement, 11),
        .image_identity = statement_text(statement, 12, &short_of_memory),
        .top_identity = statement_text(statement, 13, &short_of_memory),
        .directory_identity = statement_text(statement, 14, &short_of_memory),
    };
    snprintf(row->id, sizeof(row->id), "%s", (const char *)sqlite3_column_text(statement, 0));
    if (!short_of_memory)
        return 0;
    device_row_clear(row);
    return store_out_of_memory(err);
}

int store_device_insert(struct store *store, const struct device_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        held,
        "INSERT INTO devices (" DEVICE_COLUMNS ") VALUES (:id, :state, :name, :image, "
        ":format, :top, :top_format, :read_only, :labels, :created_at_us, :cluster_size_bytes, "
        ":extended_l2, :image_identity, :top_identity, :directory_identity)",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    statement_bind_text(statement, ":state", state_names[row->state]);
    statement_bind_text(statement, ":name", row->name);
    statement_bind_text(statement, ":image", row->image);
    statement_bind_text(statement, ":format", row->format);
    statement_bind_text(statement, ":top", row->top);
    statement_bind_text(statement, ":top_format", row->top_format);
    statement_bind_int(statement, ":read_only", row->read_only);
    statement_bind_text(statement, ":labels", row->labels);
    statement_bind_int(statement, ":created_at_us", (int64_t)row->created_at_us);
    statement_bind_int(statement, ":cluster_size_bytes", row->cluster_size_bytes);
    statement_bind_int(statement, ":extended_l2", row->extended_l2);
    statement_bind_text(statement, ":image_identity", row->image_identity);
    statement_bind_text(statement, ":top_identity", row->top_identity);
    statement_bind_text(statement, ":directory_identity", row->directory_identity);
    return statement_run(held, statement, ErrDeviceExists, row->name, err) < 0 ? -1 : 0;
}

/* Runs a change of the one device that the row names. */
static int device_change(struct store *store, sqlite3_stmt *statement, const struct device_row *row,
                         struct err *err)
{
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    int hit = statement_run(store, statement, ErrDeviceExists, row->name, err);
    if (hit == 0)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", row->name);
    return hit < 0 ? -1 : 0;
}

int store_device_update_state(struct store *store, const struct device_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(held,
                      "UPDATE devices SET state = :state, "
                      "image_identity = coalesce(:image_identity, image_identity), "
                      "top_identity = coalesce(:top_identity, top_identity) "
                      "WHERE id = :id",
                      err);
    if (statement) {
        statement_bind_text(statement, ":state", state_names[row->state]);
        statement_bind_text(statement, ":image_identity", row->image_identity);
        statement_bind_text(statement, ":top_identity", row->top_identity);
    }
    return device_change(held, statement, row, err);
}

int store_device_delete(struct store *store, const struct device_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(held, "DELETE FROM devices WHERE id = :id", err);
    return device_change(held, statement, row, err);
}

int store_device_get(struct store *store, const char *name, struct device_row *row, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter_reader(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(held, "SELECT " DEVICE_COLUMNS " FROM devices WHERE name = :name", err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":name", name);
    int ret = statement_step(held, statement, ErrDeviceExists, name, err);
    if (ret == 0)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    return ret < 0 ? -1 : device_row_load(row, statement, err);
}

static int device_rows_load(struct store *store, sqlite3_stmt *statement, struct device_row *rows,
                            size_t limit, size_t *count, struct err *err)
{
    int ret = 0;
    while (*count < limit &&
           (ret = statement_step(store, statement, ErrDeviceExists, "", err)) > 0) {
        if (device_row_load(&rows[*count], statement, err) != 0)
            return -1;
        ++*count;
    }
    return ret < 0 ? -1 : 0;
}

int store_device_list(struct store *store, const char *after, size_t limit,
                      struct device_row **rows, size_t *count, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter_reader(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_new(
        held,
        "SELECT " DEVICE_COLUMNS " FROM devices WHERE name > :after ORDER BY name LIMIT :limit",
        err);
    struct device_row *loaded = calloc(limit + 1, sizeof(*loaded));
    *count = 0;
    if (!statement || !loaded) {
        free(loaded);
        return statement ? store_out_of_memory(err) : -1;
    }
    statement_bind_text(statement, ":after", after ? after : "");
    statement_bind_int(statement, ":limit", (int64_t)limit);
    if (device_rows_load(held, statement, loaded, limit, count, err) != 0) {
        device_rows_free(loaded, *count);
        return -1;
    }
    *rows = loaded;
    return 0;
}
