/* SPDX-License-Identifier: Apache-2.0
 *
 * A request as handlers see it: no socket, no library. http/server.c fills it, routes.c finds the handler.
 *
 *   GET /devices/vda?limit=10
 *     segments {"devices","vda"}, parameters {{"limit","10"}}, argument "vda"
 *
 * Segments and parameters are percent-decoded; escapes that are no escapes, and %00, are refused.
 */
#ifndef SERVICE_HTTP_REQUEST_H
#define SERVICE_HTTP_REQUEST_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define REQUEST_SEGMENTS_MAX   8
#define REQUEST_PARAMETERS_MAX 8
#define REQUEST_BODY_MAX_BYTES (1024 * 1024)

struct request {
    const char *method;
    const char *content_type; /* the header's value, or NULL */
    bool encoded;             /* a Content-Encoding other than identity */
    const char *body;         /* zero-terminated, but may contain zeros */
    size_t body_bytes;
    char *uri; /* path and query; what the pointers below point into */
    size_t segment_count;
    char *segments[REQUEST_SEGMENTS_MAX];
    size_t parameter_count;
    struct request_parameter {
        char *name, *value;
    } parameters[REQUEST_PARAMETERS_MAX];
    const char *argument; /* what the {...} of the route's path stands for, or NULL */
};

/* Takes `uri` apart, in place. InvalidParameter, NotFound (too many segments). */
int request_parse_uri(struct request *request, struct err *err);

/* Whether the body is declared to be plain JSON. */
bool request_is_json(const struct request *request);

/* The value of the query parameter `name`, or NULL. */
const char *request_parameter(const struct request *request, const char *name);

/* Refuses parameters that are not among `names` (the last one is NULL; NULL: none) and those given
 * twice. */
int request_check_parameters(const struct request *request, const char *const *names,
                             struct err *err);

#define REQUEST_LIMIT_DEFAULT 100
#define REQUEST_LIMIT_MAX     1000

/* The parameter `limit`: 1 to REQUEST_LIMIT_MAX. */
int request_limit(const struct request *request, size_t *limit, struct err *err);

#endif
