/* SPDX-License-Identifier: Apache-2.0
 *
 * See certificates.h.
 */
#include "base/tls/certificates.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/tls/file.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* How the server's certificate stands in time; NULL: well. */
static const char *certificate_date_wrong(gnutls_certificate_credentials_t certificate)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    const char *wrong = NULL;
    if (gnutls_certificate_get_x509_crt(certificate, 0, &chain, &count) != 0)
        return NULL;
    if (count > 0 && gnutls_x509_crt_get_expiration_time(chain[0]) < time(NULL))
        wrong = "has expired";
    else if (count > 0 && gnutls_x509_crt_get_activation_time(chain[0]) > time(NULL))
        wrong = "is not valid yet";
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return wrong;
}

/* An operator should hear of this before a client does. */
static int certificate_check_date(gnutls_certificate_credentials_t certificate, const char *path,
                                  bool must_be_valid, struct err *err)
{
    const char *wrong = certificate_date_wrong(certificate);
    if (wrong && must_be_valid)
        return err_set(err, ErrInvalidValue, 0, "TLS certificate '%s' %s; replace it", path, wrong);
    if (wrong)
        log_warning("TLS certificate '%s' %s: clients will not accept it", path, wrong);
    return 0;
}

static int certificate_load_own(gnutls_certificate_credentials_t certificate, const char *cert_path,
                                const char *key_path, bool must_be_valid, struct err *err)
{
    CLEANUP_BY(tls_datum_clear) gnutls_datum_t cert = {.data = NULL};
    CLEANUP_BY(tls_datum_clear) gnutls_datum_t key = {.data = NULL};
    if (tls_file_read(cert_path, false, &cert, err) != 0 ||
        tls_file_read(key_path, true, &key, err) != 0)
        return -1;
    int ret = gnutls_certificate_set_x509_key_mem2(certificate, &cert, &key, GNUTLS_X509_FMT_PEM,
                                                   NULL, 0);
    if (ret < 0)
        return err_set(err, ErrInvalidValue, 0, "TLS files '%s' and '%s' are of no use: %s",
                       cert_path, key_path, gnutls_strerror(ret));
    return certificate_check_date(certificate, cert_path, must_be_valid, err);
}

/* A list by another issuer would never be asked, and nobody would notice. */
static int revocations_check_one(gnutls_x509_crl_t crl, const gnutls_x509_crt_t *cas,
                                 unsigned ca_count, const char *path, struct err *err)
{
    const unsigned dates =
        GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
    unsigned reasons = 0;
    if (gnutls_x509_crl_verify(crl, cas, ca_count, 0, &reasons) != 0 ||
        (reasons & ~(dates | GNUTLS_CERT_INVALID)))
        return err_set(err, ErrInvalidValue, 0,
                       "TLS file '%s' is of no use: ca-cert.pem beside it has not signed it", path);
    if (reasons & dates)
        log_warning("TLS file '%s' is out of date: later revocations are unknown", path);
    return 0;
}

static int revocations_check(const gnutls_datum_t *ca, const gnutls_datum_t *crl, const char *path,
                             struct err *err)
{
    gnutls_x509_crt_t *cas = NULL;
    gnutls_x509_crl_t *crls = NULL;
    unsigned ca_count = 0, count = 0;
    int ret = gnutls_x509_crl_list_import2(&crls, &count, crl, GNUTLS_X509_FMT_PEM, 0);
    if (ret < 0)
        return tls_file_useless(path, ret, err);
    ret = gnutls_x509_crt_list_import2(&cas, &ca_count, ca, GNUTLS_X509_FMT_PEM, 0);
    int result = ret < 0 ? tls_file_useless(path, ret, err) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (result == 0)
            result = revocations_check_one(crls[i], cas, ca_count, path, err);
        gnutls_x509_crl_deinit(crls[i]);
    }
    for (unsigned i = 0; i < ca_count; i++)
        gnutls_x509_crt_deinit(cas[i]);
    gnutls_free(crls);
    gnutls_free(cas);
    return result;
}

static int certificate_load_trust(gnutls_certificate_credentials_t certificate, const char *ca_path,
                                  const char *crl_path, struct err *err)
{
    CLEANUP_BY(tls_datum_clear) gnutls_datum_t ca = {.data = NULL};
    CLEANUP_BY(tls_datum_clear) gnutls_datum_t crl = {.data = NULL};
    if (tls_file_read(ca_path, false, &ca, err) != 0)
        return -1;
    int ret = gnutls_certificate_set_x509_trust_mem(certificate, &ca, GNUTLS_X509_FMT_PEM);
    if (ret <= 0)
        return tls_file_useless(ca_path, ret, err);
    if (access(crl_path, F_OK) != 0 && errno == ENOENT)
        return 0;
    if (tls_file_read(crl_path, false, &crl, err) != 0 ||
        revocations_check(&ca, &crl, crl_path, err) != 0)
        return -1;
    ret = gnutls_certificate_set_x509_crl_mem(certificate, &crl, GNUTLS_X509_FMT_PEM);
    return ret <= 0 ? tls_file_useless(crl_path, ret, err) : 0;
}

int tls_certificates_load(gnutls_certificate_credentials_t certificate, const char *dir,
                          unsigned flags, struct err *err)
{
    static const char *const names[] = {"server-cert.pem", "server-key.pem", "ca-cert.pem",
                                        "ca-crl.pem"};
    char paths[4][PATH_MAX];
    for (size_t i = 0; i < 4; i++)
        if (snprintf(paths[i], PATH_MAX, "%s/%s", dir, names[i]) >= PATH_MAX)
            return err_set(err, ErrOpenFileFailed, ENAMETOOLONG,
                           "TLS directory '%.200s' cannot be opened", dir);
    if (certificate_load_own(certificate, paths[0], paths[1], flags & TLS_MUST_BE_VALID, err) != 0)
        return -1;
    return flags & TLS_TRUST ? certificate_load_trust(certificate, paths[2], paths[3], err) : 0;
}

bool tls_certificates_have_ca(const char *dir)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof(path), "%s/ca-cert.pem", dir) >= (int)sizeof(path) ||
           access(path, F_OK) == 0 || errno != ENOENT;
}
