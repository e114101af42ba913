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
#include <stdbool.h>

struct tls_credentials;

struct http_certificates {
    pthread_mutex_t lock;             /* nothing waits under it */
    struct tls_credentials *now;      /* lock: a reference; or NULL: REST has no TLS, for good */
    struct tls_credentials *prepared; /* of the thread that reloads: a reference; or NULL */
};

void http_certificates_open(struct http_certificates *certificates);
void http_certificates_close(struct http_certificates *certificates);

/* Whether the files of the directory are good. OpenFileFailed, InvalidValue, OutOfResources; the
 * message names the file. */
int http_certificates_check(const char *dir, struct err *err);

/* Reads the files, for http_certificates_replace(). On failure nothing changes; as above. */
int http_certificates_prepare(struct http_certificates *certificates, const char *dir,
                              struct err *err);

/* Uses those that were prepared last, if any were since the last replacement. */
void http_certificates_replace(struct http_certificates *certificates);

/* Forgets those that were prepared. */
void http_certificates_cancel(struct http_certificates *certificates);

/* Whether there are any. */
bool http_certificates_are_there(struct http_certificates *certificates);

/* A reference to those of now, which must be there. */
struct tls_credentials *http_certificates_ref(struct http_certificates *certificates);

#endif
