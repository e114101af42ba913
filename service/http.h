/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server. http.c alone knows libmicrohttpd; everything behind it sees struct request
 * and struct reply. A thread per connection, so that handlers may block.
 */
#ifndef SERVICE_HTTP_H
#define SERVICE_HTTP_H

#include "base/err.h"
#include "service/listen.h"

#include <stddef.h>

struct http;
struct service;

/* Connections at a time, over all sockets of one address. */
#define HTTP_CONNECTIONS_MAX 1024

/* Seconds in which a connection must make progress; the time that a handler takes does not count.
 */
#define HTTP_IDLE_S 30

struct http *http_new(struct service *service, struct err *err);

/* Serves on a listening socket, which it takes over in any case. May be called more than once. */
int http_listen(struct http *http, struct listen_socket *listening, struct err *err);

/* Accepts no more, lets requests whose body has arrived finish and be answered, closes everything.
 */
void http_free(struct http *http);

#endif
