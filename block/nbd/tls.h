/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS for NBD connections. Private to block/nbd/.
 *
 *   nbd_tls           credentials and rules, read once from files (nbd/tls.c); never changes, so any
 *                     thread may use it
 *   nbd_tls_session   one connection's TLS (nbd/tls-session.c), between its channel and its socket
 *
 * Offered are TLS 1.3 and 1.2, with AEAD ciphers and forward secrecy only. Nothing is resumed and
 * nothing is renegotiated, so whoever is connected has been judged by the credentials of this
 * process.
 */
#ifndef BLOCK_NBD_TLS_H
#define BLOCK_NBD_TLS_H

#include "base/err.h"
#include "block/block.h"
#include "block/nbd/socket.h"

#include <gnutls/gnutls.h>

struct nbd_tls;
struct nbd_tls_session;

/* Reads the credentials. NULL and *err, which names the file: OpenFileFailed, InvalidValue. */
struct nbd_tls *nbd_tls_new(const struct nbd_tls_spec *spec, struct err *err);
void nbd_tls_free(struct nbd_tls *tls);

/* Whether every client proves who it is, with a certificate or a pre-shared key. */
bool nbd_tls_authenticates(const struct nbd_tls *tls);

/* Whether the client has shown what the rules want; once the library has shaken hands. It has
 * refused all others already: this is the second lock on the door. */
bool nbd_tls_is_proven(const struct nbd_tls *tls, gnutls_session_t gnutls);

/* Gives the library's session its rules and credentials. 0, or the library's error. */
int nbd_tls_equip(const struct nbd_tls *tls, gnutls_session_t gnutls);

/* ---- sessions ---- */

/* A session that has not shaken hands; NULL if there is no memory. `tls` outlives it. */
struct nbd_tls_session *nbd_tls_session_new(const struct nbd_tls *tls);
void nbd_tls_session_free(struct nbd_tls_session *session);

/* Shakes hands as the server. -errno, with the reason in the log: the connection is lost. */
int nbd_tls_handshake(struct nbd_tls_session *session, struct nbd_channel *channel,
                      uint64_t deadline_ms);

/* As nbd_channel_receive() and nbd_channel_write(). */
ssize_t nbd_tls_receive(struct nbd_tls_session *session, struct nbd_channel *channel, void *buf,
                        size_t length, enum nbd_wait wait, uint64_t deadline_ms);
int nbd_tls_write(struct nbd_tls_session *session, struct nbd_channel *channel, const void *buf,
                  size_t length, uint64_t deadline_ms);

/* Tells the peer, once, that nothing more is sent, or what went wrong. */
void nbd_tls_bye(struct nbd_tls_session *session, struct nbd_channel *channel,
                 uint64_t deadline_ms);

#endif
