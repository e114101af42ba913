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
