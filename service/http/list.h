/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters that lists share: limit, cursor, label.
 *
 *   cursor   POSITION~HASH   where the next page begins, and a hash of that and of the filters: a
 *                            cursor is of use with the filters only that it was made for. Opaque to
 *                            clients
 *   label    KEY=VALUE       the first "=" ends the key; may be given several times, all must hold
 */
#ifndef SERVICE_HTTP_LIST_H
#define SERVICE_HTTP_LIST_H

#include "service/http/limits.h"
#include "service/http/request.h"

#include <stdint.h>

#define LIST_POSITION_BYTES 80
#define LIST_CURSOR_BYTES   (LIST_POSITION_BYTES + 17)

struct list_query {
    size_t limit;
    char position[LIST_POSITION_BYTES]; /* "": from the beginning */
    uint64_t filters;                   /* a hash of all other parameters */
    size_t label_count;
    struct {
        const char *key, *value;
    } labels[LIST_LABELS_MAX];
};

/* Strings point into the request, whose labels are split in place: once for each request.
 * InvalidParameter. */
int list_query_parse(const struct request *request, struct list_query *query, struct err *err);

/* The cursor that goes on at `position`. */
void list_cursor_format(const struct list_query *query, const char *position,
                        char cursor[LIST_CURSOR_BYTES]);

/* A position that is not of this list. Returns -1. */
int list_cursor_refuse(struct err *err);

/* The parameter `name`, a time. *is_given. InvalidParameter. */
int list_time(const struct request *request, const char *name, bool *is_given, uint64_t *time_us,
              struct err *err);

#endif
