/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS credentials and rules of a server, read from files. They never change, so any thread may
 * use them; new files make new credentials, for connections that begin later.
 *
 * Offered are TLS 1.3 and 1.2, with AEAD ciphers and forward secrecy only. Nothing is resumed and
 * nothing is renegotiated, so whoever is connected has been judged by credentials of this process.
 */
#ifndef BASE_TLS_CREDENTIALS_H
#define BASE_TLS_CREDENTIALS_H

#include "base/cleanup.h"
#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>

/* What is asked of a client that comes with no pre-shared key. */
enum tls_clients {
    TLS_CLIENTS_ANY,   /* nothing */
    TLS_CLIENTS_MAY,   /* a certificate; one that is shown must be good */
    TLS_CLIENTS_PROVE, /* a good certificate */
};

struct tls_spec {
    const char *cert_dir; /* certificates.h; or NULL */
    const char *psk_file; /* keys.h; or NULL */
    enum tls_clients clients;
    bool must_be_valid; /* a server's certificate that is out of date is an error */
};

struct tls_credentials;

/* Reads the files; one reference. NULL and *err, which names the file: OpenFileFailed,
 * InvalidValue, OutOfResources. */
struct tls_credentials *tls_credentials_new(const struct tls_spec *spec, struct err *err);
struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials);
CLEANUP_DEFINE(tls_credentials, struct tls_credentials *, tls_credentials_unref)

/* Whether every client proves who it is, with a certificate or a pre-shared key. */
bool tls_credentials_authenticate(const struct tls_credentials *credentials);

/* Whether there are clients that prove who they are. */
bool tls_credentials_know_clients(const struct tls_credentials *credentials);

/* Whether the client has shown what the rules want; once the library has shaken hands. It has
 * refused all others already: this is the second lock on the door. */
bool tls_credentials_are_met(const struct tls_credentials *credentials, gnutls_session_t gnutls);

/* What is wrong with the client's certificate, for the library to print; 0: nothing. */
unsigned tls_credentials_reasons(gnutls_session_t gnutls);

/* A server's session of the library, non-blocking, with its rules and credentials; NULL without
 * memory. The credentials outlive it. */
gnutls_session_t tls_credentials_session(const struct tls_credentials *credentials);

#endif
