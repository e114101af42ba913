/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of a client that has proven who it is: of its certificate the common name, then the DNS
 * names, mail addresses and URIs it is for; of a pre-shared key its user.
 */
#ifndef BASE_TLS_PEER_H
#define BASE_TLS_PEER_H

#include "base/tls/limits.h"

#include <gnutls/gnutls.h>
#include <stddef.h>

enum {
    TLS_NAME_BYTES = TLS_NAME_BYTES_MAX + 1, /* with its zero; longer names, and those with other
                                                characters than printable ASCII, are left out */
};

struct tls_names {
    size_t count;
    char list[TLS_NAMES_MAX][TLS_NAME_BYTES];
};

/* Once tls_credentials_are_met(). None: the client has shown nothing that was verified. */
void tls_names_get(struct tls_names *names, gnutls_session_t gnutls);

#endif
