/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscribers: clients that follow the events as text/event-stream. One thread serves them all: a
 * connection is handed over once its reply's head is sent, and its own thread ends. See
 * subscribers.c.
 */
#ifndef SERVICE_HTTP_SUBSCRIBERS_H
#define SERVICE_HTTP_SUBSCRIBERS_H

#include "base/err.h"
#include "service/http/auth.h"
#include "service/http/limits.h"
#include "service/http/stream.h"
#include "service/http/subscription.h"

/* Seconds between two messages of a silent stream; and for which a client may read nothing. */
#define SUBSCRIBER_HEARTBEAT_S 10
#define SUBSCRIBER_STALL_S     15

struct service;
struct subscriber;
struct subscribers;

struct subscribers *subscribers_new(struct service *service, struct err *err);

/* A place among the subscribers, to be given to subscriber_start() or back by subscriber_free().
 * NULL and *err (OutOfResources). */
struct subscriber *subscriber_new(struct subscribers *subscribers,
                                  const struct subscription *subscription,
                                  const struct principal *principal, struct err *err);
void subscriber_free(struct subscriber *subscriber);

/* Hands the connection over: `stream` has none afterwards. */
void subscriber_start(struct subscriber *subscriber, struct http_stream *stream);

/* Closes all connections, now and from now on. */
void subscribers_stop(struct subscribers *subscribers);

/* After the last subscriber_start(). */
void subscribers_free(struct subscribers *subscribers);

#endif
