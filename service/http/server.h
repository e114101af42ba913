/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server. Everything behind it sees struct request and struct reply only. A thread per
 * connection, so that handlers may block.
 */
#ifndef SERVICE_HTTP_SERVER_H
#define SERVICE_HTTP_SERVER_H

#include "base/err.h"
#include "service/http/listen.h"

struct http;
struct service;

/* Connections at a time: of a kind, and of one peer among them, which is a user on a Unix socket and an
 * address on TCP. Users who may not call are told so, and can hold no more than this. */
#define HTTP_UNIX_MAX           512
#define HTTP_UNIX_PEER_MAX      384
#define HTTP_UNIX_FORBIDDEN_MAX 16
#define HTTP_TCP_MAX            512
#define HTTP_TCP_PEER_MAX       256

/* Seconds that a reply gets once the daemon is ending. */
#define HTTP_STOP_S 10

struct http *http_new(struct service *service, struct err *err);

/* Serves on a listening socket, which it takes over in any case. May be called more than once. */
int http_listen(struct http *http, const struct listen_socket *listening, struct err *err);

/* Accepts no more, lets requests that have arrived finish and be answered, closes everything. A client
 * that does not read its reply holds it up for HTTP_STOP_S at most. */
void http_free(struct http *http);

#endif
