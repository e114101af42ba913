/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection's TLS. See tls-session.h.
 *
 *      channel                                                              socket
 *      receive  <-- GnuTLS decrypts <-- pull <-- `in`  <-- whatever arrives <--
 *      write    --> GnuTLS encrypts --> push --> `out` --> a batch at once  -->
 *
 * The library itself does no I/O: it reads from one buffer of ciphertext and writes to another one,
 * so that it never waits, and a batch of records costs one system call as a batch of replies does.
 *
 * Threads: one receives, another one may write. The library has state that both change (a peer may
 * ask for new keys at any time, and after many records they are due anyway), so it is only called
 * under `lock`, which is never held while anything waits for the peer. `out` is filled under the
 * lock, by the writer, and by the receiver with no more than an alert; only the writer empties it.
 * It is large enough for all that one call encrypts: a record that had to be sent again after the
 * keys have changed would be sent twice.
 */
#include "block/nbd/tls-session.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/tls/credentials.h"
#include "base/tls/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    RECORD_BYTES = 16384,
    RECORD_OVERHEAD_BYTES = 512, /* more than any version adds */
    BATCH_RECORDS = 16,
    BATCH_BYTES = BATCH_RECORDS * RECORD_BYTES,
    IN_BYTES = 256 << 10,
    /* A batch, new keys in front of it, and an alert. */
    OUT_BYTES = (BATCH_RECORDS + 1) * (RECORD_BYTES + RECORD_OVERHEAD_BYTES),
};

struct nbd_tls_session {
    pthread_mutex_t lock;
    struct tls_credentials *credentials; /* a reference */
    gnutls_session_t gnutls;             /* lock */
    bool failed;                         /* lock: nothing more can be sent or received */
    bool closed;                         /* lock: the peer has been told of the end */
    size_t in_start, in_end;             /* the receiving thread's */
    size_t out_start;                    /* the writing thread's */
    size_t out_end;                      /* lock */
    unsigned char in[IN_BYTES], out[OUT_BYTES];
};

/* ---- what the library calls ---- */

static ssize_t session_pull(gnutls_transport_ptr_t arg, void *buf, size_t length)
{
    struct nbd_tls_session *session = arg;
    size_t there = session->in_end - session->in_start;
    if (there == 0) {
        gnutls_transport_set_errno(session->gnutls, EAGAIN);
        return -1;
    }
    if (length > there)
        length = there;
    memcpy(buf, session->in + session->in_start, length);
    session->in_start += length;
    return (ssize_t)length;
}

static ssize_t session_push(gnutls_transport_ptr_t arg, const void *data, size_t length)
{
    struct nbd_tls_session *session = arg;
    size_t room = OUT_BYTES - session->out_end;
    if (room == 0) {
        gnutls_transport_set_errno(session->gnutls, EAGAIN);
        return -1;
    }
    if (length > room)
        length = room;
    memcpy(session->out + session->out_end, data, length);
    session->out_end += length;
    return (ssize_t)length;
}

/* ---- the socket's side ---- */

/* Receives ciphertext, once all that there was has been pulled. */
static int session_fill(struct nbd_tls_session *session, struct nbd_socket *socket,
                        enum nbd_wait wait, uint64_t deadline_ms)
{
    assert(session->in_start == session->in_end);
    ssize_t got =
        nbd_socket_receive(socket, session->in, IN_BYTES,
                           wait == NBD_WAIT_NOT ? NBD_WAIT_NOT : NBD_WAIT_SOME, deadline_ms);
    if (got < 0)
        return (int)got;
    session->in_start = 0;
    session->in_end = (size_t)got;
    return 0;
}

/* Sends the ciphertext. */
static int session_flush(struct nbd_tls_session *session, struct nbd_socket *socket,
                         uint64_t deadline_ms)
{
    pthread_mutex_lock(&session->lock);
    size_t length = session->out_end - session->out_start;
    pthread_mutex_unlock(&session->lock);
    int ret = nbd_socket_write(socket, session->out + session->out_start, length, deadline_ms);
    LOCK_GUARD(&session->lock);
    session->out_start += length;
    if (session->out_start == session->out_end)
        session->out_start = session->out_end = 0;
    if (ret)
        session->failed = true;
    return ret;
}

/* Nothing more comes of this session. */
static int session_fail_locked(struct nbd_tls_session *session, int error)
{
    if (!session->failed) {
        log_warning("NBD connection closed: TLS: %s", gnutls_strerror(error));
        gnutls_alert_send_appropriate(session->gnutls, error);
    }
    session->failed = session->closed = true;
    return -EPROTO;
}

/* ---- life ---- */

struct nbd_tls_session *nbd_tls_session_new(struct tls_credentials *credentials)
{
    struct nbd_tls_session *session = malloc(sizeof(*session));
    gnutls_session_t gnutls = session ? tls_credentials_session(credentials) : NULL;
    if (!gnutls) {
        tls_credentials_unref(credentials);
        free(session);
        return NULL;
    }
    /* The buffers are not touched before they are used. */
    session->credentials = credentials;
    session->gnutls = gnutls;
    session->failed = session->closed = false;
    session->in_start = session->in_end = session->out_start = session->out_end = 0;
    pthread_mutex_init(&session->lock, NULL);
    gnutls_transport_set_ptr(gnutls, session);
    gnutls_transport_set_pull_function(gnutls, session_pull);
    gnutls_transport_set_push_function(gnutls, session_push);
    return session;
}

void nbd_tls_session_free(struct nbd_tls_session *session)
{
    gnutls_deinit(session->gnutls);
    tls_credentials_unref(session->credentials);
    pthread_mutex_destroy(&session->lock);
    free(session);
}

/* ---- shaking hands ---- */

/* Says why, as well as it is known. */
static void handshake_tell(struct nbd_tls_session *session, int error)
{
    gnutls_datum_t text = {.data = NULL};
    unsigned reasons = gnutls_session_get_verify_cert_status(session->gnutls);
    if (error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
        gnutls_certificate_verification_status_print(reasons, GNUTLS_CRT_X509, &text, 0) == 0)
        log_warning("NBD client refused: TLS: %s", text.data);
    else if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
        log_warning("NBD client refused: TLS: the client says: %s",
                    gnutls_alert_get_name(gnutls_alert_get(session->gnutls)));
    else
        log_warning("NBD client refused: TLS: %s", gnutls_strerror(error));
    gnutls_free(text.data);
}

/* One step: 1 if more input is needed, 0 when it is done, or -errno. */
static int handshake_step(struct nbd_tls_session *session)
{
    LOCK_GUARD(&session->lock);
    int ret = gnutls_handshake(session->gnutls);
    if (ret == GNUTLS_E_SUCCESS && tls_credentials_are_met(session->credentials, session->gnutls))
        return 0;
    if (ret == GNUTLS_E_SUCCESS)
        ret = GNUTLS_E_INSUFFICIENT_CREDENTIALS;
    if (!gnutls_error_is_fatal(ret))
        return 1;
    handshake_tell(session, ret);
    gnutls_alert_send_appropriate(session->gnutls, ret);
    session->failed = session->closed = true;
    return -EPROTO;
}

int nbd_tls_session_handshake(struct nbd_tls_session *session, struct nbd_socket *socket,
                              uint64_t deadline_ms)
{
    for (;;) {
        int step = handshake_step(session);
        int ret = session_flush(session, socket, deadline_ms);
        if (step <= 0)
            return step ? step : ret;
        if (!ret && session->in_start == session->in_end)
            ret = session_fill(session, socket, NBD_WAIT_SOME, deadline_ms);
        if (ret) {
            log_warning("NBD client refused: TLS: the handshake was not completed: %s",
                        strerror(-ret));
            return ret;
        }
    }
}

void nbd_tls_session_names(struct nbd_tls_session *session, struct tls_names *names)
{
    LOCK_GUARD(&session->lock);
    assert(tls_credentials_are_met(session->credentials, session->gnutls));
    tls_names_get(names, session->gnutls);
}

/* ---- data ---- */

/* Decrypts what has arrived. 0, with *done grown; -errno at the end of the session. */
static int session_decrypt(struct nbd_tls_session *session, unsigned char *buf, size_t length,
                           size_t *done)
{
    LOCK_GUARD(&session->lock);
    if (session->failed)
        return -EPROTO;
    while (*done < length) {
        ssize_t got = gnutls_record_recv(session->gnutls, buf + *done, length - *done);
        if (got > 0)
            *done += (size_t)got;
        else if (got == 0)
            return -ECONNRESET;
        else if (gnutls_error_is_fatal((int)got) || got == GNUTLS_E_REHANDSHAKE)
            return session_fail_locked(session, (int)got);
        else if (session->in_start == session->in_end)
            return 0;
    }
    return 0;
}

ssize_t nbd_tls_session_receive(struct nbd_tls_session *session, struct nbd_socket *socket,
                                void *buf, size_t length, enum nbd_wait wait, uint64_t deadline_ms)
{
    size_t done = 0;
    for (;;) {
        int ret = session_decrypt(session, buf, length, &done);
        if (!ret && done < length && (done == 0 || wait == NBD_WAIT_ALL))
            ret = session_fill(session, socket, wait, deadline_ms);
        else if (!ret)
            return (ssize_t)done;
        if (ret)
            return done > 0 ? (ssize_t)done : ret;
    }
}

static int session_encrypt(struct nbd_tls_session *session, const unsigned char *data,
                           size_t length)
{
    LOCK_GUARD(&session->lock);
    if (session->failed)
        return -EPROTO;
    while (length > 0) {
        ssize_t sent = gnutls_record_send(session->gnutls, data, length);
        if (sent <= 0)
            return session_fail_locked(session, (int)sent);
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int nbd_tls_session_write(struct nbd_tls_session *session, struct nbd_socket *socket,
                          const void *buf, size_t length, uint64_t deadline_ms)
{
    const unsigned char *at = buf;
    while (length > 0) {
        size_t piece = length < BATCH_BYTES ? length : BATCH_BYTES;
        int ret = session_encrypt(session, at, piece);
        if (!ret)
            ret = session_flush(session, socket, deadline_ms);
        if (ret)
            return ret;
        at += piece;
        length -= piece;
    }
    return 0;
}

void nbd_tls_session_name(const struct nbd_tls_session *session, char *name, size_t bytes)
{
    struct tls_names names;
    tls_names_get(&names, session->gnutls);
    snprintf(name, bytes, "%s", names.count > 0 ? names.list[0] : "");
}

void nbd_tls_session_bye(struct nbd_tls_session *session, struct nbd_socket *socket,
                         uint64_t deadline_ms)
{
    pthread_mutex_lock(&session->lock);
    if (!session->closed)
        gnutls_bye(session->gnutls, GNUTLS_SHUT_WR);
    session->closed = true;
    pthread_mutex_unlock(&session->lock);
    session_flush(session, socket, deadline_ms); /* the peer may be gone already */
}
