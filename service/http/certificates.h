/* SPDX-License-Identifier: Apache-2.0
 *
 * The certificates of REST, which may be replaced while it is served: a connection has those that
 * were loaded last when it began. If the directory has a ca-cert.pem, a client may show a
 * certificate of that issuer. Any thread.
 */
#ifndef SERVICE_HTTP_CERTIFICATES_H
#define SERVICE_HTTP_CERTIFICATES_H

#include "base/err.h"

#include <pthread.h>

struct tls_credentials;

struct http_certificates {
    pthread_mutex_t lock;        /* nothing waits under it */
    const char *dir;             /* constant once it is loaded; NULL: there are none */
    struct tls_credentials *now; /* lock: a reference; or NULL */
};

void http_certificates_open(struct http_certificates *certificates);
void http_certificates_close(struct http_certificates *certificates);

/* Loads the directory, which is borrowed for good and always the same. On failure nothing changes.
 * OpenFileFailed, InvalidValue, OutOfResources: the message names the file. */
int http_certificates_load(struct http_certificates *certificates, const char *dir,
                           struct err *err);

/* A reference to those of now. They must have been loaded. */
struct tls_credentials *http_certificates_ref(struct http_certificates *certificates);

#endif
