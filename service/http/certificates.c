/* SPDX-License-Identifier: Apache-2.0
 *
 * See certificates.h.
 */
#include "service/http/certificates.h"

#include "base/cleanup.h"
#include "base/tls/certificates.h"
#include "base/tls/credentials.h"

#include <assert.h>

void http_certificates_open(struct http_certificates *certificates)
{
    *certificates = (struct http_certificates){.now = NULL};
    pthread_mutex_init(&certificates->lock, NULL);
}

void http_certificates_close(struct http_certificates *certificates)
{
    http_certificates_cancel(certificates);
    if (certificates->now)
        tls_credentials_unref(certificates->now);
    pthread_mutex_destroy(&certificates->lock);
}

static struct tls_credentials *certificates_read(const char *dir, struct err *err)
{
    struct tls_spec spec = {.cert_dir = dir,
                            .clients =
                                tls_certificates_have_ca(dir) ? TLS_CLIENTS_MAY : TLS_CLIENTS_ANY,
                            .must_be_valid = true};
    return tls_credentials_new(&spec, err);
}

int http_certificates_check(const char *dir, struct err *err)
{
    struct tls_credentials *credentials = certificates_read(dir, err);
    if (!credentials)
        return -1;
    tls_credentials_unref(credentials);
    return 0;
}

int http_certificates_prepare(struct http_certificates *certificates, const char *dir,
                              struct err *err)
{
    assert(!certificates->prepared);
    certificates->prepared = certificates_read(dir, err);
    return certificates->prepared ? 0 : -1;
}

void http_certificates_cancel(struct http_certificates *certificates)
{
    struct tls_credentials *prepared = steal(certificates->prepared);
    if (prepared)
        tls_credentials_unref(prepared);
}

void http_certificates_replace(struct http_certificates *certificates)
{
    if (!certificates->prepared)
        return;
    pthread_mutex_lock(&certificates->lock);
    struct tls_credentials *old = certificates->now;
    certificates->now = steal(certificates->prepared);
    pthread_mutex_unlock(&certificates->lock);
    if (old)
        tls_credentials_unref(old);
}

bool http_certificates_are_there(struct http_certificates *certificates)
{
    LOCK_GUARD(&certificates->lock);
    return certificates->now;
}

struct tls_credentials *http_certificates_ref(struct http_certificates *certificates)
{
    LOCK_GUARD(&certificates->lock);
    assert(certificates->now);
    return tls_credentials_ref(certificates->now);
}
