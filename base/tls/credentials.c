/* SPDX-License-Identifier: Apache-2.0
 *
 * See credentials.h. A client's certificate must be valid now, not revoked, issued by the CA, and
 * not for other purposes than a TLS client's; it need not name anybody in particular.
 */
#include "base/tls/credentials.h"

#include "base/cleanup.h"
#include "base/tls/certificates.h"
#include "base/tls/keys.h"

#include <assert.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>

/* AEAD ciphers and forward secrecy only; then the ways in that there are credentials for, since
 * under TLS 1.2 the library would choose others, too. Keys come first: who offers one means it. */
#define RULES             "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE:-KX-ALL"
#define RULES_PSK         ":+ECDHE-PSK:+DHE-PSK"
#define RULES_CERTIFICATE ":+ECDHE-ECDSA:+ECDHE-RSA:+DHE-RSA"

struct tls_credentials {
    atomic_uint references;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t certificate; /* or NULL */
    gnutls_psk_server_credentials_t psk;          /* or NULL */
    enum tls_clients clients;
    struct tls_keys keys; /* of psk */
};

/* ---- life ---- */

static int credentials_load_certificates(struct tls_credentials *credentials,
                                         const struct tls_spec *spec, struct err *err)
{
    unsigned flags = (spec->clients != TLS_CLIENTS_ANY ? TLS_TRUST : 0) |
                     (spec->must_be_valid ? TLS_MUST_BE_VALID : 0);
    if (gnutls_certificate_allocate_credentials(&credentials->certificate) != 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS certificates");
    return tls_certificates_load(credentials->certificate, spec->cert_dir, flags, err);
}

/* Called by the library while it shakes hands. */
static int credentials_answer(gnutls_session_t gnutls, const gnutls_datum_t *name,
                              gnutls_datum_t *key)
{
    const struct tls_credentials *credentials = gnutls_session_get_ptr(gnutls);
    return tls_keys_answer(&credentials->keys, name, key);
}

static int credentials_load_keys(struct tls_credentials *credentials, const char *path,
                                 struct err *err)
{
    if (tls_keys_load(&credentials->keys, path, err) != 0)
        return -1;
    if (gnutls_psk_allocate_server_credentials(&credentials->psk) != 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for TLS keys");
    gnutls_psk_set_server_credentials_function2(credentials->psk, credentials_answer);
    return 0;
}

struct tls_credentials *tls_credentials_new(const struct tls_spec *spec, struct err *err)
{
    CLEANUP(tls_credentials) struct tls_credentials *credentials = calloc(1, sizeof(*credentials));
    const char *rules = !spec->psk_file   ? RULES RULES_CERTIFICATE
                        : !spec->cert_dir ? RULES RULES_PSK
                                          : RULES RULES_PSK RULES_CERTIFICATE;
    if (credentials)
        credentials->references = 1;
    if (!credentials || gnutls_priority_init(&credentials->priority, rules, NULL) != 0) {
        err_set(err, ErrOutOfResources, 0, "TLS cannot be set up");
        return NULL;
    }
    credentials->clients = spec->clients;
    if (!spec->cert_dir && !spec->psk_file) {
        err_set(err, ErrInvalidValue, 0, "TLS needs a certificate or pre-shared keys");
        return NULL;
    }
    if ((spec->cert_dir && credentials_load_certificates(credentials, spec, err) != 0) ||
        (spec->psk_file && credentials_load_keys(credentials, spec->psk_file, err) != 0))
        return NULL;
    return steal(credentials);
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials)
{
    unsigned before = atomic_fetch_add(&credentials->references, 1);
    assert(before > 0);
    (void)before;
    return credentials;
}

void tls_credentials_unref(struct tls_credentials *credentials)
{
    if (atomic_fetch_sub(&credentials->references, 1) > 1)
        return;
    tls_keys_clear(&credentials->keys);
    if (credentials->psk)
        gnutls_psk_free_server_credentials(credentials->psk);
    if (credentials->certificate)
        gnutls_certificate_free_credentials(credentials->certificate);
    if (credentials->priority)
        gnutls_priority_deinit(credentials->priority);
    free(credentials);
}

/* ---- use ---- */

/* For the certificate of a client. */
static gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                        .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};

unsigned tls_credentials_reasons(gnutls_session_t gnutls)
{
    unsigned reasons = 0;
    if (gnutls_certificate_verify_peers(gnutls, &purpose, 1, &reasons) < 0)
        reasons |= GNUTLS_CERT_INVALID;
    return reasons;
}

/* Called by the library while it shakes hands. Its own check does not take "no certificate". */
static int verify_if_shown(gnutls_session_t gnutls)
{
    unsigned count = 0;
    if (!gnutls_certificate_get_peers(gnutls, &count) || count == 0)
        return 0;
    return tls_credentials_reasons(gnutls) == 0 ? 0 : GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

bool tls_credentials_authenticate(const struct tls_credentials *credentials)
{
    return !credentials->certificate || credentials->clients == TLS_CLIENTS_PROVE;
}

bool tls_credentials_know_clients(const struct tls_credentials *credentials)
{
    return credentials->psk || credentials->clients != TLS_CLIENTS_ANY;
}

bool tls_credentials_are_met(const struct tls_credentials *credentials, gnutls_session_t gnutls)
{
    unsigned count = 0;
    if (gnutls_auth_get_type(gnutls) == GNUTLS_CRD_PSK)
        return credentials->psk;
    if (!credentials->certificate || gnutls_auth_get_type(gnutls) != GNUTLS_CRD_CERTIFICATE)
        return false;
    if (credentials->clients == TLS_CLIENTS_ANY)
        return true;
    if (!gnutls_certificate_get_peers(gnutls, &count) || count == 0)
        return credentials->clients == TLS_CLIENTS_MAY;
    return tls_credentials_reasons(gnutls) == 0;
}

static int session_equip(const struct tls_credentials *credentials, gnutls_session_t gnutls)
{
    static const gnutls_certificate_request_t requests[] = {
        [TLS_CLIENTS_ANY] = GNUTLS_CERT_IGNORE,
        [TLS_CLIENTS_MAY] = GNUTLS_CERT_REQUEST,
        [TLS_CLIENTS_PROVE] = GNUTLS_CERT_REQUIRE,
    };
    gnutls_session_set_ptr(gnutls, (void *)credentials);
    int ret = gnutls_priority_set(gnutls, credentials->priority);
    if (!ret && credentials->certificate)
        ret = gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, credentials->certificate);
    if (!ret && credentials->psk)
        ret = gnutls_credentials_set(gnutls, GNUTLS_CRD_PSK, credentials->psk);
    gnutls_certificate_server_set_request(gnutls, requests[credentials->clients]);
    if (credentials->clients == TLS_CLIENTS_MAY)
        gnutls_session_set_verify_function(gnutls, verify_if_shown);
    else if (credentials->clients == TLS_CLIENTS_PROVE)
        gnutls_session_set_verify_cert2(gnutls, &purpose, 1, 0);
    gnutls_handshake_set_timeout(gnutls,
                                 GNUTLS_INDEFINITE_TIMEOUT); /* the caller's deadline holds */
    return ret;
}

gnutls_session_t tls_credentials_session(const struct tls_credentials *credentials)
{
    gnutls_session_t gnutls;
    if (gnutls_init(&gnutls,
                    GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) != 0)
        return NULL;
    if (session_equip(credentials, gnutls) == 0)
        return gnutls;
    gnutls_deinit(gnutls);
    return NULL;
}
