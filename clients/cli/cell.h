/* SPDX-License-Identifier: Apache-2.0
 *
 * A value of a JSON object as the text of a table's cell.
 */
#ifndef CLI_CELL_H
#define CLI_CELL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum cell_kind {
    CELL_TEXT,     /* text, a whole number, true, false */
    CELL_BYTES,    /* 1.5G; exact in wide tables */
    CELL_TIME,     /* without fractions of a second */
    CELL_COUNT,    /* of an array */
    CELL_LIST,     /* an array of text, or of objects with a member `device` */
    CELL_LABELS,   /* KEY=VALUE,... */
    CELL_PROGRESS, /* of {"done_bytes", "total_bytes"} */
};

struct column {
    const char *title;
    const char *path; /* of the value: "progress", "origin.group" */
    enum cell_kind kind;
    bool is_wide; /* only in wide tables */
};

/* A kind of things that the daemon has. */
struct resource {
    const char *name_path; /* of what -o name shows */
    const struct column *columns;
    size_t count;
};
#define RESOURCE(name_path, columns)                                                               \
    {                                                                                              \
        name_path, columns, sizeof(columns) / sizeof(*(columns))                                   \
    }

/* The value at a path, or NULL. */
const cJSON *cell_value(const cJSON *object, const char *path);

/* Writes it; "-" if there is none. */
void cell_write(FILE *to, const cJSON *object, const struct column *column, bool is_wide);

/* Writes bytes as people do. */
void cell_write_bytes(FILE *to, double bytes);

#endif
