/* SPDX-License-Identifier: Apache-2.0
 *
 * The columns of a table and the fields of the struct that holds its rows. Private to store/.
 *
 * A table's file lists its columns once; the texts of its queries and the array by which rows are
 * loaded, bound and cleared follow from that list:
 *
 *     #define ROW struct frozen_file_row
 *     #define COLUMNS(FIRST, X) FIRST(identity, TEXT) X(path, TEXT)
 *     static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS)};
 *     static const struct table frozen_files = {TABLE("frozen_files")};
 *     ... "SELECT " COLUMN_NAMES(COLUMNS) " FROM frozen_files" ...
 *
 *     kind          column            field
 *     ID            TEXT NOT NULL     char[STORE_ID_CHARS + 1]
 *     TEXT          TEXT NOT NULL     char *, on the heap
 *     TEXT_OR_NULL  TEXT              likewise, or NULL
 *     CHOICE        TEXT NOT NULL     enum: a position in the table's `choices`, or in those of the
 *                                     column: AMONG(names, count) after the kind
 *     ERROR_CODE    TEXT              enum err_code, by its name
 *     INTEGER       INTEGER NOT NULL  any integer or bool
 *
 * KNOWN_BY(flag) after the kind allows NULL: `flag`, a bool, is then false and the field is not
 * bound.
 */
#ifndef STORE_TABLE_H
#define STORE_TABLE_H

#include "store/connection.h"

#include <stddef.h>

enum column_kind {
    COLUMN_ID,
    COLUMN_TEXT,
    COLUMN_TEXT_OR_NULL,
    COLUMN_CHOICE,
    COLUMN_ERROR_CODE,
    COLUMN_INTEGER,
};

struct column {
    const char *name, *parameter;
    enum column_kind kind;
    size_t offset, bytes; /* of the field */
    bool has_flag;
    size_t flag_offset;
    const char *const *choices; /* NULL: those of the table */
    size_t choice_count;
};

struct table {
    const char *name;
    size_t row_bytes;
    const struct column *columns;
    size_t column_count;
    const char *const *choices;
    size_t choice_count;
};

#define COLUMN_NAMES(list)             list(COLUMN_FIRST_NAME, COLUMN_NAME)
#define COLUMN_VALUES(list)            list(COLUMN_FIRST_VALUE, COLUMN_VALUE)
#define COLUMN_ENTRIES(list)           list(COLUMN_ENTRY, COLUMN_ENTRY)
#define COLUMN_FIRST_NAME(field, ...)  #field
#define COLUMN_NAME(field, ...)        ", " #field
#define COLUMN_FIRST_VALUE(field, ...) ":" #field
#define COLUMN_VALUE(field, ...)       ", :" #field
#define COLUMN_ENTRY(field, column_kind, ...)                                                      \
    {.name = #field,                                                                               \
     .parameter = ":" #field,                                                                      \
     .kind = COLUMN_##column_kind,                                                                 \
     .offset = offsetof(ROW, field),                                                               \
     .bytes = sizeof(((ROW *)0)->field),                                                           \
     ##__VA_ARGS__},
#define KNOWN_BY(flag)      .has_flag = true, .flag_offset = offsetof(ROW, flag)
#define AMONG(names, count) .choices = (names), .choice_count = (count)
/* Why something failed: fields error_code, error_errnum, error_message, known by has_error. */
#define ERROR_COLUMNS(X)                                                                           \
    X(error_code, ERROR_CODE, KNOWN_BY(has_error))                                                 \
    X(error_errnum, INTEGER, KNOWN_BY(has_error))                                                  \
    X(error_message, TEXT_OR_NULL)

#define TABLE(table_name)                                                                          \
    .name = table_name, .row_bytes = sizeof(ROW), .columns = columns,                              \
    .column_count = sizeof(columns) / sizeof(*columns)

/* Fills `row` from the statement's current row, whose first columns are the table's. A NULL or a
 * text that the column may not have is StoreFailed, naming table and column. */
int row_load(const struct table *table, sqlite3_stmt *statement, void *row, struct err *err);

/* Binds every field for which the statement has a parameter. Texts are borrowed until it is
 * finalised. */
void row_bind(const struct table *table, sqlite3_stmt *statement, const void *row);

/* Runs a change with the row bound; how many rows it changed, or -1 and *err. A broken uniqueness
 * is reported as `taken`, naming `name`. */
int row_run(const struct table *table, struct connection *writer, const char *sql, const void *row,
            enum err_code taken, const char *name, struct err *err);

/* Copies a row, its texts too. OutOfResources: *to is clear. */
int row_copy(const struct table *table, void *to, const void *from, struct err *err);

/* Frees the texts and zeroes the row. */
void row_clear(const struct table *table, void *row);

/* All rows of the statement, on the heap (NULL if there are none); free with rows_free. */
int rows_load(struct connection *connection, const struct table *table, sqlite3_stmt *statement,
              void **rows, size_t *count, struct err *err);
void rows_free(const struct table *table, void *rows, size_t count);

#endif
