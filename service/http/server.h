/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server: listening sockets in, connections limited and served. Each connection has a
 * thread, so that handlers may block.
 */
#ifndef SERVICE_HTTP_SERVER_H
#define SERVICE_HTTP_SERVER_H

#include "base/err.h"
#include "base/listener.h"
#include "service/option-value.h"

struct http;
struct option_groups;
struct service;

/* Connections at a time: of one kind (auth.h), and of one principal within it. Users who may not
 * call get their refusal on few connections. */
#define HTTP_UNIX_MAX           512
#define HTTP_UNIX_PEER_MAX      384
#define HTTP_UNIX_FORBIDDEN_MAX 16
#define HTTP_TCP_MAX            512
#define HTTP_TCP_PEER_MAX       256

/* Seconds that a client has to read its reply once the daemon stops. */
#define HTTP_STOP_S 10

/* Members of these groups may call over Unix sockets. Before http_listen(). */
void http_allow(struct http *http, const struct option_groups *groups);

struct http *http_new(struct service *service, struct err *err);

/* Before the first listener with TLS: the directory of certificates (certificates.h), borrowed for
 * good, and "NAME=SCOPE" of those of clients. OpenFileFailed, InvalidValue; the message names the
 * file. */
int http_set_tls(struct http *http, const char *cert_dir, const struct option_addresses *scopes,
                 struct err *err);

/* Reads the certificates again, for connections that begin later. On failure nothing changes. Any
 * thread; as http_set_tls(). */
int http_reload_tls(struct http *http, struct err *err);

/* Serves a listening socket, which it owns from then on, also on failure. May be called more than
 * once. OutOfResources. */
int http_listen(struct http *http, const struct listener *opened, bool has_tls, struct err *err);

/* Stops: accepts no more, finishes and answers the requests that have been received, closes
 * everything. A client that does not read its reply delays it by at most HTTP_STOP_S. */
void http_free(struct http *http);

#endif
