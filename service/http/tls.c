/* SPDX-License-Identifier: Apache-2.0
 *
 * See tls.h.
 */
#include "service/http/tls.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

struct http_tls {
    struct tls_credentials *credentials; /* a reference */
    gnutls_session_t gnutls;
    bool is_open;   /* it has shaken hands */
    bool is_closed; /* nothing more is to be sent */
};

struct http_tls *http_tls_new(struct tls_credentials *credentials, int fd)
{
    struct http_tls *tls = calloc(1, sizeof(*tls));
    gnutls_session_t gnutls = tls ? tls_credentials_session(credentials) : NULL;
    if (!gnutls) {
        tls_credentials_unref(credentials);
        free(tls);
        return NULL;
    }
    *tls = (struct http_tls){.credentials = credentials, .gnutls = gnutls};
    gnutls_transport_set_int(gnutls, fd);
    return tls;
}

void http_tls_free(struct http_tls *tls)
{
    gnutls_deinit(tls->gnutls);
    tls_credentials_unref(tls->credentials);
    free(tls);
}

short http_tls_wants(const struct http_tls *tls)
{
    return gnutls_record_get_direction(tls->gnutls) ? POLLOUT : POLLIN;
}

/* ---- shaking hands ---- */

/* Says why, as well as it is known. */
static void handshake_log(const struct http_tls *tls, int error)
{
    gnutls_datum_t text = {.data = NULL};
    bool is_certificate =
        error == GNUTLS_E_CERTIFICATE_ERROR || error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
    if (is_certificate && gnutls_certificate_verification_status_print(
                              tls_credentials_reasons(tls->gnutls), GNUTLS_CRT_X509, &text, 0) == 0)
        log_warning("REST client refused: TLS: %s", text.data);
    else if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
        log_warning("REST client refused: TLS: the client says: %s",
                    gnutls_alert_get_name(gnutls_alert_get(tls->gnutls)));
    else if (error != GNUTLS_E_PREMATURE_TERMINATION) /* it has gone, or the server stops */
        log_warning("REST client refused: TLS: %s", gnutls_strerror(error));
    gnutls_free(text.data);
}

int http_tls_handshake(struct http_tls *tls)
{
    assert(!tls->is_open);
    int ret;
    do
        ret = gnutls_handshake(tls->gnutls);
    while (ret < 0 && ret != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(ret));
    if (ret == GNUTLS_E_AGAIN)
        return -EAGAIN;
    if (ret == GNUTLS_E_SUCCESS && tls_credentials_are_met(tls->credentials, tls->gnutls)) {
        tls->is_open = true;
        return 0;
    }
    if (ret == GNUTLS_E_SUCCESS)
        ret = GNUTLS_E_INSUFFICIENT_CREDENTIALS;
    handshake_log(tls, ret);
    gnutls_alert_send_appropriate(tls->gnutls, ret);
    tls->is_closed = true;
    return -EPROTO;
}

void http_tls_names(const struct http_tls *tls, struct tls_names *names)
{
    assert(tls->is_open);
    tls_names_get(names, tls->gnutls);
}

/* ---- data ---- */

/* What the library's result `ret` of a call means: data, -EAGAIN, or the end of the session. */
static ssize_t session_result(struct http_tls *tls, ssize_t ret)
{
    if (ret >= 0)
        return ret;
    if (ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    tls->is_closed = true;
    return -ECONNRESET;
}

ssize_t http_tls_receive(struct http_tls *tls, char *data, size_t bytes)
{
    assert(tls->is_open && bytes > 0);
    ssize_t ret;
    do
        ret = gnutls_record_recv(tls->gnutls, data, bytes);
    while (ret == GNUTLS_E_WARNING_ALERT_RECEIVED);
    return session_result(tls, ret);
}

ssize_t http_tls_send(struct http_tls *tls, const char *data, size_t bytes)
{
    assert(tls->is_open && bytes > 0);
    return tls->is_closed ? -ECONNRESET
                          : session_result(tls, gnutls_record_send(tls->gnutls, data, bytes));
}

int http_tls_bye(struct http_tls *tls)
{
    if (!tls->is_open || tls->is_closed)
        return 0;
    ssize_t ret = session_result(tls, gnutls_bye(tls->gnutls, GNUTLS_SHUT_WR));
    if (ret == 0)
        tls->is_closed = true;
    return (int)ret;
}
