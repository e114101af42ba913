/* SPDX-License-Identifier: Apache-2.0
 *
 * The certificates of a server, from a directory:
 *
 *   DIR/server-cert.pem   the server's certificate, then its issuers up to the root, if any
 *   DIR/server-key.pem    its private key
 *   DIR/ca-cert.pem       who may have issued a client's certificate   } with TLS_TRUST only
 *   DIR/ca-crl.pem        which ones are revoked; may be missing       }
 *
 * The names are those that QEMU and nbdkit use.
 */
#ifndef BASE_TLS_CERTIFICATES_H
#define BASE_TLS_CERTIFICATES_H

#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>

enum {
    TLS_TRUST = 1,         /* load the clients' issuers, too */
    TLS_MUST_BE_VALID = 2, /* a server's certificate that is out of date is an error: else a
                              warning */
};

/* Loads them into empty credentials. The message names the file: OpenFileFailed, InvalidValue. */
int tls_certificates_load(gnutls_certificate_credentials_t certificate, const char *dir,
                          unsigned flags, struct err *err);

/* Whether the directory has, or may have, issuers of clients. */
bool tls_certificates_have_ca(const char *dir);

#endif
