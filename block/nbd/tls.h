/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS credentials and rules of the NBD server, read once from files. They never change, so any
 * thread may use them.
 *
 * Offered are TLS 1.3 and 1.2, with AEAD ciphers and forward secrecy only. Nothing is resumed and
 * nothing is renegotiated, so whoever is connected has been judged by the credentials of this
 * process.
 */
#ifndef BLOCK_NBD_TLS_H
#define BLOCK_NBD_TLS_H

#include "base/err.h"
#include "block/block.h"

#include <gnutls/gnutls.h>

struct nbd_tls;

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

#endif
