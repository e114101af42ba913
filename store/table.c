/* SPDX-License-Identifier: Apache-2.0
 *
 * See table.h.
 */
#include "store/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int column_is_invalid(const struct table *table, const struct column *column,
                             struct err *err)
{
    return err_set(err, ErrStoreFailed, 0,
                   "column %s of table %s in the database makes no sense; restore the database "
                   "from a backup",
                   column->name, table->name);
}

/* What a column of the kind CHOICE may have. */
static const char *const *column_choices(const struct table *table, const struct column *column,
                                         size_t *count)
{
    *count = column->choices ? column->choice_count : table->choice_count;
    return column->choices ? column->choices : table->choices;
}

static int choice_load(const struct table *table, const struct column *column, const char *text,
                       int *choice)
{
    size_t count;
    const char *const *choices = column_choices(table, column, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(choices[i], text) == 0) {
            *choice = (int)i;
            return 0;
        }
    return -1;
}

static void integer_load(const struct column *column, int64_t value, void *field)
{
    switch (column->bytes) {
    case sizeof(bool):
        *(bool *)field = value != 0;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)field = (uint32_t)value;
        break;
    default:
        assert(column->bytes == sizeof(uint64_t));
        *(uint64_t *)field = (uint64_t)value;
    }
}

/* Loads a column that is not NULL. */
static int column_load(const struct table *table, const struct column *column,
                       sqlite3_stmt *statement, int position, void *field, struct err *err)
{
    if (column->kind == COLUMN_INTEGER) {
        integer_load(column, sqlite3_column_int64(statement, position), field);
        return 0;
    }
    const char *text = (const char *)sqlite3_column_text(statement, position);
    if (!text)
        return store_out_of_memory(err);
    switch (column->kind) {
    case COLUMN_ID:
        if (strlen(text) >= column->bytes)
            return column_is_invalid(table, column, err);
        strcpy(field, text);
        return 0;
    case COLUMN_CHOICE:
        return choice_load(table, column, text, field) == 0 ? 0
                                                            : column_is_invalid(table, column, err);
    case COLUMN_ERROR_CODE:
        *(enum err_code *)field = err_code_from_name(text);
        return 0;
    default:
        *(char **)field = strdup(text);
        return *(char **)field ? 0 : store_out_of_memory(err);
    }
}

int row_load(const struct table *table, sqlite3_stmt *statement, void *row, struct err *err)
{
    assert((size_t)sqlite3_column_count(statement) >= table->column_count);
    memset(row, 0, table->row_bytes);
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        assert(strcmp(sqlite3_column_name(statement, (int)i), column->name) == 0);
        bool is_null = sqlite3_column_type(statement, (int)i) == SQLITE_NULL;
        bool may_be_null = column->has_flag || column->kind == COLUMN_TEXT_OR_NULL;
        if (column->has_flag)
            *(bool *)((char *)row + column->flag_offset) = !is_null;
        if (is_null && may_be_null)
            continue;
        if (is_null ? column_is_invalid(table, column, err)
                    : column_load(table, column, statement, (int)i, (char *)row + column->offset,
                                  err)) {
            row_clear(table, row);
            return -1;
        }
    }
    return 0;
}

static void choice_bind(const struct table *table, const struct column *column,
                        sqlite3_stmt *statement, unsigned choice)
{
    size_t count;
    const char *const *choices = column_choices(table, column, &count);
    assert(choice < count);
    statement_bind_text(statement, column->parameter, choices[choice]);
}

static void column_bind(const struct table *table, const struct column *column,
                        sqlite3_stmt *statement, const void *field)
{
    switch (column->kind) {
    case COLUMN_ID:
        statement_bind_text(statement, column->parameter, field);
        break;
    case COLUMN_CHOICE:
        choice_bind(table, column, statement, *(const unsigned *)field);
        break;
    case COLUMN_ERROR_CODE:
        statement_bind_text(statement, column->parameter,
                            err_code_name(*(const enum err_code *)field));
        break;
    case COLUMN_INTEGER:
        statement_bind_int(statement, column->parameter,
                           column->bytes == sizeof(bool)       ? *(const bool *)field
                           : column->bytes == sizeof(uint32_t) ? *(const uint32_t *)field
                                                               : *(const int64_t *)field);
        break;
    default:
        statement_bind_text(statement, column->parameter, *(char *const *)field);
    }
}

void row_bind(const struct table *table, sqlite3_stmt *statement, const void *row)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        bool is_known =
            !column->has_flag || *(const bool *)((const char *)row + column->flag_offset);
        if (is_known && sqlite3_bind_parameter_index(statement, column->parameter) > 0)
            column_bind(table, column, statement, (const char *)row + column->offset);
    }
}

int row_run(const struct table *table, struct connection *writer, const char *sql, const void *row,
            enum err_code taken, const char *name, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    row_bind(table, statement, row);
    return statement_run(writer, statement, taken, name, err);
}

static bool column_is_heap(const struct column *column)
{
    return column->kind == COLUMN_TEXT || column->kind == COLUMN_TEXT_OR_NULL;
}

int row_copy(const struct table *table, void *to, const void *from, struct err *err)
{
    memcpy(to, from, table->row_bytes);
    for (size_t i = 0; i < table->column_count; i++)
        if (column_is_heap(&table->columns[i]))
            *(char **)((char *)to + table->columns[i].offset) = NULL;
    for (size_t i = 0; i < table->column_count; i++) {
        size_t offset = table->columns[i].offset;
        const char *text = column_is_heap(&table->columns[i])
                               ? *(char *const *)((const char *)from + offset)
                               : NULL;
        if (text && !(*(char **)((char *)to + offset) = strdup(text))) {
            row_clear(table, to);
            return store_out_of_memory(err);
        }
    }
    return 0;
}

void row_clear(const struct table *table, void *row)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (column_is_heap(&table->columns[i]))
            free(*(char **)((char *)row + table->columns[i].offset));
    memset(row, 0, table->row_bytes);
}

void rows_free(const struct table *table, void *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        row_clear(table, (char *)rows + i * table->row_bytes);
    free(rows);
}

/* Appends a row to a heap array, whose room is the least power of two that is enough. */
static int rows_append(const struct table *table, sqlite3_stmt *statement, void **rows,
                       size_t *count, struct err *err)
{
    if ((*count & (*count - 1)) == 0) {
        void *grown = realloc(*rows, (*count ? *count * 2 : 1) * table->row_bytes);
        if (!grown)
            return store_out_of_memory(err);
        *rows = grown;
    }
    if (row_load(table, statement, (char *)*rows + *count * table->row_bytes, err) != 0)
        return -1;
    ++*count;
    return 0;
}

int rows_load(struct connection *connection, const struct table *table, sqlite3_stmt *statement,
              void **rows, size_t *count, struct err *err)
{
    int found;
    *rows = NULL;
    *count = 0;
    while ((found = statement_step(connection, statement, ErrInternalError, table->name, err)) > 0)
        if (rows_append(table, statement, rows, count, err) != 0) {
            found = -1;
            break;
        }
    if (found == 0)
        return 0;
    rows_free(table, steal(*rows), *count);
    *count = 0;
    return -1;
}
