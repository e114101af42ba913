/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon as it is reached over its socket or a URL: one request and its reply. Only client.c
 * and access.c know libcurl.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "clients/cli/command.h"

#include "base/cleanup.h"

struct client;

struct request {
    const char *method;
    const char *path;         /* and query, escaped */
    const char *body;         /* or NULL */
    size_t body_bytes;        /* 0: those of a string */
    const char *content_type; /* NULL: that of JSON, or of a merge patch if the method is PATCH */
    const char *key;          /* Idempotency-Key, or NULL */
    const char *prefer;       /* Prefer, or NULL */
    const char *match;        /* If-Match, or NULL */
    int64_t patience_ms;      /* how long to wait for the reply without --timeout; 0: as usual */
};

struct reply {
    long status;
    char *body; /* ends with NUL; may be NULL if there was none */
    size_t bytes;
    char *etag; /* or NULL */
    bool is_json;
    int64_t retry_after_ms; /* 0: none */
};
void reply_release(struct reply *reply);
#define CLEANUP_REPLY CLEANUP_BY(reply_release)

enum exchange {
    EXCHANGE_REPLIED,
    EXCHANGE_UNSENT, /* nobody took it */
    EXCHANGE_LOST,   /* it may have been carried out */
    EXCHANGE_LATE,   /* so may this: there was no reply in time */
    EXCHANGE_FAILED, /* another try would not help: certificates, permissions */
    EXCHANGE_ENDED,  /* a stream: `take` has ended it, or nobody reads standard output */
};

/* Opens the client of a call, with its options; the daemon is not asked yet. EXIT_USAGE. */
int client_open(struct call *call);
void client_close(struct call *call);

/* Milliseconds of a clock that is never set. */
int64_t monotonic_ms(void);

/* When --timeout is over, on that clock; 0: never. */
int64_t client_deadline_ms(const struct client *client);

/* "unix:PATH" or the URL, for people. */
const char *client_where(const struct client *client);

/* Sends a request once. Unless it is EXCHANGE_REPLIED or
 * EXCHANGE_ENDED, `failure` says why. */
enum exchange client_exchange(struct client *client, const struct request *request,
                              struct reply *reply, struct failure *failure);

/*
 * The events after `last_id` ("": from now on) as a stream of text, given to `take` as it comes,
 * which returns -1 to end it. Returns when the stream has ended. A reply other than 200 is in
 * `reply`.
 */
typedef int (*stream_take)(void *context, const char *text, size_t bytes);
enum exchange client_stream(struct client *client, const struct request *request,
                            const char *last_id, stream_take take, void *context,
                            struct reply *reply, struct failure *failure);

#endif
