/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server: listening sockets in, connections limited and served. Each connection has a
 * thread, so that handlers may block.
 */
#ifndef SERVICE_HTTP_SERVER_H
#define SERVICE_HTTP_SERVER_H

#include "base/err.h"
#include "base/listener.h"
#include "service/http/limits.h"
#include "service/option-value.h"

struct http;
struct option_groups;
struct service;

/* Seconds that a client has to read its reply once the daemon stops. */
#define HTTP_STOP_S 10

/* Who may call, and how the server proves who it is. Borrowed for a call, but for the texts of
 * `scopes`, which the next terms replace. */
struct http_terms {
    const struct option_groups *groups;    /* whose members may call over Unix sockets */
    const struct option_addresses *scopes; /* "NAME=SCOPE" of certificates of clients */
    const char *cert_dir; /* of the certificates (certificates.h); NULL: REST keeps those it has */
};

struct http *http_new(struct service *service, struct err *err);

/* Before the first listener; `terms` have a cert_dir if one of them is to have TLS. OpenFileFailed,
 * InvalidValue; the message names the file. */
int http_set_terms(struct http *http, const struct http_terms *terms, struct err *err);

/* Whether other terms can be applied; reads the certificates. Changes nothing. Once it has
 * succeeded, one of the next two follows, on the same thread. As http_set_terms(). */
int http_prepare_terms(struct http *http, const struct http_terms *terms, struct err *err);
void http_cancel_terms(struct http *http);

/* Applies them. Open connections stay, and are judged again before their next request; the
 * certificates are for connections that begin later. */
void http_apply_terms(struct http *http, const struct http_terms *terms);

/* Serves a listening socket, which it owns from then on, also on failure. May be called more than
 * once. OutOfResources. */
int http_listen(struct http *http, const struct listener *opened, bool has_tls, struct err *err);

/* Stops: accepts no more, finishes and answers the requests that have been received, closes
 * everything. A client that does not read its reply delays it by at most HTTP_STOP_S. */
void http_free(struct http *http);

#endif
