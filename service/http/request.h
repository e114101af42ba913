/* SPDX-License-Identifier: Apache-2.0
 *
 * A request as handlers see it: no socket, no connection. pipeline.c fills it.
 *
 *   GET /devices/vda?limit=10
 *     segments {"devices","vda"}, parameters {{"limit","10"}}, argument "vda"
 *
 * Segments and parameters are percent-decoded; invalid escapes and %00 are rejected.
 */
#ifndef SERVICE_HTTP_REQUEST_H
#define SERVICE_HTTP_REQUEST_H

#include "base/err.h"
#include "service/events.h"
#include "service/http/limits.h"

#include <stdbool.h>
#include <stddef.h>

#define REQUEST_SEGMENTS_MAX 8

struct http_head;
struct principal;

struct request {
    const struct http_head *head; /* the header: request_header() */
    const struct principal *principal;
    struct origin origin;              /* principal and id, for events */
    char id[REQUEST_ID_CHARS_MAX + 1]; /* the header X-Request-Id, or one of ours */
    const char *method;
    char *uri;          /* path and query, which the pointers below point into */
    const void *fields; /* the body as its route's table decodes it; all zero without a body */
    size_t segment_count;
    char *segments[REQUEST_SEGMENTS_MAX];
    size_t parameter_count;
    struct request_parameter {
        char *name, *value;
    } parameters[REQUEST_PARAMETERS_MAX];
    /* The segments that match the {...} of the route's path, or NULL. */
    const char *argument, *second_argument;
};

/* The value of the header field `name`, counting from 0 those of that name; NULL: there is none. */
const char *request_header(const struct request *request, const char *name, size_t nth);

/* Sets the id from the header if it has one that is 1 to REQUEST_ID_CHARS_MAX of the characters A-Z
 * a-z 0-9 . _ : / + = -; else makes one. */
void request_identify(struct request *request);

#define REQUEST_INSTANCE_BYTES 512

/* Writes the path of `target` as a URI reference: characters that may not occur in one are
 * percent-encoded; "/" if it is NULL or empty; cut short if it is longer than any path that is
 * served. */
void request_instance(const char *target, char instance[REQUEST_INSTANCE_BYTES]);

/* Splits `uri`, in place. InvalidParameter, NotFound (too many segments). */
int request_parse_uri(struct request *request, struct err *err);

/* Whether the body is declared to be of `type`, and not encoded. */
bool request_has_type(const struct request *request, const char *type);

/* The parameter `name`, "true" or "false" (the default). InvalidParameter. */
int request_flag(const struct request *request, const char *name, bool *flag, struct err *err);

/* Whether the client prefers not to wait (RFC 7240, section 4.1). */
bool request_prefers_async(const struct request *request);

/* Whether the client says how long to wait for the end (RFC 7240, section 4.3); *seconds, longer
 * ones cut to PREFER_WAIT_MAX_S. */
bool request_prefers_wait(const struct request *request, unsigned *seconds);

/* The value of the query parameter `name`, or NULL. */
const char *request_parameter(const struct request *request, const char *name);

/* Rejects parameters that are not among `names` (ended by NULL; NULL: none) and those given twice,
 * but for "label". InvalidParameter. */
int request_check_parameters(const struct request *request, const char *const *names,
                             struct err *err);

#define REQUEST_LIMIT_DEFAULT 100

/* The parameter `limit`: 1 to REQUEST_LIMIT_MAX. */
int request_limit(const struct request *request, size_t *limit, struct err *err);

/* The same, 1 to `most`, which has five digits; without it, `fallback`. */
int request_limit_of(const struct request *request, size_t fallback, size_t most, size_t *limit,
                     struct err *err);

#endif
