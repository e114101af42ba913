/* SPDX-License-Identifier: Apache-2.0
 *
 * What a handler answers with: JSON, or a problem (RFC 9457). reply.c alone knows which error code
 * is which HTTP status. http/server.c sends a reply and owns it from then on.
 */
#ifndef SERVICE_HTTP_REPLY_H
#define SERVICE_HTTP_REPLY_H

#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct reply {
    int status;
    const char *content_type;
    char *body;              /* heap, or NULL */
    const char *static_body; /* used if `body` is NULL */
    size_t body_bytes;
    char *location; /* heap; header Location, or NULL */
    char *allow;    /* heap; header Allow, or NULL */
};
void reply_clear(struct reply *reply);

#define PROBLEM_POINTER_BYTES 1024

/* An error and where it lies. Strings are borrowed. */
struct problem {
    struct err err;
    bool has_pointer;
    char pointer[PROBLEM_POINTER_BYTES]; /* RFC 6901, into the request's body */
    const char *device;                  /* or NULL */
    const char *snapshot_file;           /* or NULL */
};

/* Sets the pointer, as by printf. Returns -1, so that a decoder can end in it. */
int problem_point(struct problem *problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The status's phrase, as in RFC 9110. */
const char *reply_phrase(int status);

/* The problem's JSON object, as it stands in replies and in an aborted group's `error`. */
struct cJSON *problem_encode(const struct problem *problem);

/* Answers with `json`, which is consumed. */
void reply_json(struct reply *reply, int status, struct cJSON *json);

/* Answers 201 with `json` (consumed) and the Location PREFIX/NAME; `name` needs no escaping. */
void reply_created(struct reply *reply, const char *prefix, const char *name, struct cJSON *json);

/* Answers 204. */
void reply_nothing(struct reply *reply);

/* Answers with text that lives for ever. */
void reply_static(struct reply *reply, const char *content_type, const char *text, size_t bytes);

void reply_problem(struct reply *reply, const struct problem *problem);
void reply_error(struct reply *reply, const struct err *err);

#endif
