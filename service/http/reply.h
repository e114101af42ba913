/* SPDX-License-Identifier: Apache-2.0
 *
 * A reply: JSON, a problem (RFC 9457), text, or the stream of events. A handler fills it, the
 * pipeline sends and clears it. reply.c alone maps error codes to HTTP statuses.
 */
#ifndef SERVICE_HTTP_REPLY_H
#define SERVICE_HTTP_REPLY_H

#include "base/err.h"
#include "service/http/subscription.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define EVENT_STREAM_TYPE "text/event-stream"

#define REPLY_HEADER_BYTES 1024
#define REPLY_SPARE_BYTES  1024
#define REPLY_TAG_BYTES    64

struct reply {
    /* What every problem names, borrowed, kept by reply_clear(): the request's id and the path of
     * what failed, as a URI. NULL: not known. */
    const char *request_id, *instance;
    int status;
    bool is_retryable;       /* a problem that may pass */
    bool is_interim;         /* a repeated Idempotency-Key gets the answer of then */
    char *body;              /* heap, or NULL */
    const char *static_body; /* used if `body` is NULL */
    size_t body_bytes;
    bool has_secret; /* for a repeated Idempotency-Key `kept_body` is kept, never `body` */
    char *kept_body; /* heap, or NULL: nothing is kept */
    bool is_stream;  /* what follows the head is the subscribers' (subscribers.h) */
    struct subscription subscription; /* of a stream */
    char tag[REPLY_TAG_BYTES]; /* of the header ETag, without quotes; "": none (condition.h) */
    bool is_kept;              /* caches may keep it, and ask whether it is still right */
    bool varies_by_coding;     /* with the request's Accept-Encoding */
    size_t header_bytes;
    char header[REPLY_HEADER_BYTES]; /* lines, each with its CR LF */
    char spare[REPLY_SPARE_BYTES];   /* the problem that is sent when there is no memory for one */
};
void reply_clear(struct reply *reply);

/* Adds a header field, its value as by printf; our own text, which fits and has no CR LF. */
void reply_header_add(struct reply *reply, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds what every reply has: X-Request-Id, Cache-Control; and Vary, if it varies. */
void reply_finish(struct reply *reply);

/* Room for any head. */
#define REPLY_HEAD_BYTES (REPLY_HEADER_BYTES + 256)

/* Writes the head (status line, header, empty line) to `text`; returns its length. A stream lasts
 * up to the end of the connection. */
size_t reply_head_format(const struct reply *reply, bool is_last, char *text, size_t room);

#define PROBLEM_POINTER_BYTES  1024
#define PROBLEM_EXISTING_BYTES 80

/* An error and where it lies. Strings are borrowed. */
struct problem {
    struct err err;
    bool has_pointer;
    char pointer[PROBLEM_POINTER_BYTES]; /* RFC 6901, into the request's body */
    const char *device;                  /* or NULL */
    const char *snapshot_file;           /* or NULL */
    const char *instance;                /* NULL: the reply's */
    bool has_existing;                   /* who has the name: a group's id, a device's name; */
    char existing_id[PROBLEM_EXISTING_BYTES];
    bool is_same_request; /* that made it */
};

/* Adds who has the name, and whether the request of that hash made it; `made_by`: the hash of the
 * one that did, NULL if that is not known. */
void problem_compare(struct problem *problem, const char *id, const char *made_by,
                     const char *request_hash);

/* Sets the pointer, as by printf. Returns -1, so that a decoder can end in it. */
int problem_point(struct problem *problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The problem's JSON object, for the `error` of an aborted group; a reply adds its request's id. */
struct cJSON *problem_encode(const struct problem *problem);

/* Answers with `json`, which is consumed. */
void reply_json(struct reply *reply, int status, struct cJSON *json);

/* Answers with `json` (consumed) and the Location PREFIX/NAME; `name` needs no escaping. */
void reply_made(struct reply *reply, int status, const char *prefix, const char *name,
                struct cJSON *json);

/* The same with 201. */
void reply_created(struct reply *reply, const char *prefix, const char *name, struct cJSON *json);

/* Answers 304 in place of a reply with a tag. */
void reply_not_modified(struct reply *reply);

/* Answers 204. */
void reply_nothing(struct reply *reply);

/* Answers with text that is never freed, and that caches may keep. */
void reply_static(struct reply *reply, const char *content_type, const char *text, size_t bytes);

/* Answers 200 with heap text, which is consumed. */
void reply_text(struct reply *reply, const char *content_type, char *text, size_t bytes);

/* Answers 200 and makes the client a subscriber. */
void reply_stream(struct reply *reply, const struct subscription *subscription);

/* Answers with a problem that problem_encode() made before, which is consumed. */
void reply_kept_problem(struct reply *reply, struct cJSON *json);

void reply_problem(struct reply *reply, const struct problem *problem);
void reply_error(struct reply *reply, const struct err *err);

#endif
