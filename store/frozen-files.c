/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `frozen_files`. See store.h.
 */
#include "store/internal.h"

void frozen_file_rows_free(struct frozen_file_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].identity);
        free(rows[i].path);
    }
    free(rows);
}

int frozen_files_insert(struct store *store, const struct frozen_file_row *rows, size_t count,
                        struct err *err)
{
    if (count == 0)
        return 0;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(store,
                      "INSERT INTO frozen_files (identity, path) VALUES (:identity, :path) "
                      "ON CONFLICT (identity) DO NOTHING",
                      err);
    if (!statement)
        return -1;
    for (size_t i = 0; i < count; i++) {
        statement_bind_text(statement, ":identity", rows[i].identity);
        statement_bind_text(statement, ":path", rows[i].path);
        if (statement_run(store, statement, ErrInternalError, rows[i].path, err) < 0)
            return -1;
        sqlite3_reset(statement);
    }
    return 0;
}

int store_frozen_file_insert(struct store *store, const struct frozen_file_row *rows, size_t count,
                             struct err *err)
{
    CLEANUP(store) struct store *held = store_enter(store, err);
    if (!held || transaction_begin(held, err) != 0)
        return -1;
    return transaction_end(held, frozen_files_insert(held, rows, count, err), err);
}

static int frozen_file_rows_load(struct store *store, sqlite3_stmt *statement,
                                 struct frozen_file_row *rows, size_t limit, size_t *count,
                                 struct err *err)
{
    static const int needed[] = {0, 1};
    int ret = 0;
    bool short_of_memory = false;
    while (*count < limit &&
           (ret = statement_step(store, statement, ErrInternalError, "", err)) > 0) {
        if (statement_check_there(statement, needed, sizeof(needed) / sizeof(*needed),
                                  "frozen_files", err) != 0)
            return -1;
        struct frozen_file_row *row = &rows[(*count)++];
        row->identity = statement_text(statement, 0, &short_of_memory);
        row->path = statement_text(statement, 1, &short_of_memory);
        if (short_of_memory)
            return store_out_of_memory(err);
    }
    return ret < 0 ? -1 : 0;
}

int store_frozen_file_list(struct store *store, const char *after, size_t limit,
                           struct frozen_file_row **rows, size_t *count, struct err *err)
{
    CLEANUP(store) struct store *held = store_enter_reader(store, err);
    if (!held)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_new(held,
                      "SELECT identity, path FROM frozen_files WHERE identity > :after "
                      "ORDER BY identity LIMIT :limit",
                      err);
    struct frozen_file_row *loaded = calloc(limit + 1, sizeof(*loaded));
    *count = 0;
    if (!statement || !loaded) {
        free(loaded);
        return statement ? store_out_of_memory(err) : -1;
    }
    statement_bind_text(statement, ":after", after ? after : "");
    statement_bind_int(statement, ":limit", (int64_t)limit);
    if (frozen_file_rows_load(held, statement, loaded, limit, count, err) != 0) {
        frozen_file_rows_free(loaded, *count);
        return -1;
    }
    *rows = loaded;
    return 0;
}
