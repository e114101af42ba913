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
    *certificates = (struct http_certificates){.dir = NULL};
    pthread_mutex_init(&certificates->lock, NULL);
}

void http_certificates_close(struct http_certificates *certificates)
{
    if (certificates->now)
        tls_credentials_unref(certificates->now);
    pthread_mutex_destroy(&certificates->lock);
}

int http_certificates_load(struct http_certificates *certificates, const char *dir, struct err *err)
{
    struct tls_spec spec = {.cert_dir = dir,
                            .clients =
                                tls_certificates_have_ca(dir) ? TLS_CLIENTS_MAY : TLS_CLIENTS_ANY,
                            .must_be_valid = true};
    assert(!certificates->dir || certificates->dir == dir);
    struct tls_credentials *new = tls_credentials_new(&spec, err);
    if (!new)
        return -1;
    pthread_mutex_lock(&certificates->lock);
    struct tls_credentials *old = certificates->now;
    certificates->now = new;
    pthread_mutex_unlock(&certificates->lock);
    if (!certificates->dir)
        certificates->dir = dir;
    if (old)
        tls_credentials_unref(old);
    return 0;
}

struct tls_credentials *http_certificates_ref(struct http_certificates *certificates)
{
    LOCK_GUARD(&certificates->lock);
    assert(certificates->now);
    return tls_credentials_ref(certificates->now);
}
