/* SPDX-License-Identifier: Apache-2.0
 *
 * See peer.h.
 */
#include "base/tls/peer.h"

#include <gnutls/x509.h>
#include <stdbool.h>
#include <string.h>

/* Adds a name of `bytes` bytes, if it is one that can be written down. A zero within it, or letters
 * of another script, would make it look like another one. */
static void names_add(struct tls_names *names, const char *name, size_t bytes)
{
    if (bytes == 0 || bytes >= TLS_NAME_BYTES || names->count == TLS_NAMES_MAX)
        return;
    for (size_t i = 0; i < bytes; i++)
        if (name[i] < ' ' || name[i] > '~')
            return;
    memcpy(names->list[names->count], name, bytes);
    names->list[names->count++][bytes] = '\0';
}

static void names_add_certificate(struct tls_names *names, gnutls_x509_crt_t certificate)
{
    char text[TLS_NAME_BYTES];
    size_t bytes = sizeof(text);
    if (gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, text,
                                      &bytes) == 0)
        names_add(names, text, bytes);
    for (unsigned i = 0; names->count < TLS_NAMES_MAX; i++) {
        bytes = sizeof(text);
        int kind = gnutls_x509_crt_get_subject_alt_name(certificate, i, text, &bytes, NULL);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return;
        if (kind == GNUTLS_SAN_DNSNAME || kind == GNUTLS_SAN_RFC822NAME || kind == GNUTLS_SAN_URI)
            names_add(names, text, bytes);
    }
}

void tls_names_get(struct tls_names *names, gnutls_session_t gnutls)
{
    unsigned count = 0;
    gnutls_x509_crt_t certificate;
    *names = (struct tls_names){.count = 0};
    if (gnutls_auth_get_type(gnutls) == GNUTLS_CRD_PSK) {
        const char *user = gnutls_psk_server_get_username(gnutls);
        if (user)
            names_add(names, user, strlen(user));
        return;
    }
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(gnutls, &count);
    if (!chain || count == 0 || gnutls_x509_crt_init(&certificate) != 0)
        return;
    if (gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) == 0)
        names_add_certificate(names, certificate);
    gnutls_x509_crt_deinit(certificate);
}
