/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection's TLS, between its channel and its socket. One thread may receive while another
 * one writes; everything else is for one thread at a time.
 */
#ifndef BLOCK_NBD_TLS_SESSION_H
#define BLOCK_NBD_TLS_SESSION_H

#include "block/nbd/socket.h"

struct nbd_tls_session;
struct tls_credentials;
struct tls_names;

/* A session that has not shaken hands; NULL if there is no memory. Takes over the reference in both
 * cases. */
struct nbd_tls_session *nbd_tls_session_new(struct tls_credentials *credentials);
void nbd_tls_session_free(struct nbd_tls_session *session);

/* Shakes hands as the server. -errno, with the reason in the log: the connection is lost. */
int nbd_tls_session_handshake(struct nbd_tls_session *session, struct nbd_socket *socket,
                              uint64_t deadline_ms);

/* Once it has shaken hands: the first name of the client, or "". */
void nbd_tls_session_name(const struct nbd_tls_session *session, char *name, size_t bytes);

/* The names that the client has proven, once it has shaken hands. */
void nbd_tls_session_names(struct nbd_tls_session *session, struct tls_names *names);

/* As nbd_socket_receive() and nbd_socket_write(). */
ssize_t nbd_tls_session_receive(struct nbd_tls_session *session, struct nbd_socket *socket,
                                void *buf, size_t length, enum nbd_wait wait, uint64_t deadline_ms);
int nbd_tls_session_write(struct nbd_tls_session *session, struct nbd_socket *socket,
                          const void *buf, size_t length, uint64_t deadline_ms);

/* Announces the end to the peer, once, or sends the alert that says what went wrong. */
void nbd_tls_session_bye(struct nbd_tls_session *session, struct nbd_socket *socket,
                         uint64_t deadline_ms);

#endif
