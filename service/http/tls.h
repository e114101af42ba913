/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS of one connection, between its stream and its socket. Nothing here waits: what cannot go
 * on returns -EAGAIN, and http_tls_wants() says for what to poll. One thread.
 */
#ifndef SERVICE_HTTP_TLS_H
#define SERVICE_HTTP_TLS_H

#include "base/tls/credentials.h"
#include "base/tls/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct http_tls;

/* A session on the non-blocking socket `fd`. Takes over the reference in both cases. NULL: there is
 * no memory. */
struct http_tls *http_tls_new(struct tls_credentials *credentials, int fd);
void http_tls_free(struct http_tls *tls);

/* POLLIN or POLLOUT, after -EAGAIN. */
short http_tls_wants(const struct http_tls *tls);

/* Shakes hands as the server. 0; -EAGAIN; -EPROTO, with the reason in the log and an alert sent. */
int http_tls_handshake(struct http_tls *tls);

/* Once it has shaken hands: the client's names; none if it has shown no certificate. */
void http_tls_names(const struct http_tls *tls, struct tls_names *names);

/* Receives at least a byte. 0: the client has announced the end. -EAGAIN, -ECONNRESET. */
ssize_t http_tls_receive(struct http_tls *tls, char *data, size_t bytes);

/* Sends some of it. After -EAGAIN it is to be called with the same data again. -ECONNRESET. */
ssize_t http_tls_send(struct http_tls *tls, const char *data, size_t bytes);

/* Announces the end, once. 0, -EAGAIN or -ECONNRESET. */
int http_tls_bye(struct http_tls *tls);

#endif
