/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS for the raw NBD client. See tls-peer.h.
 */
#include "tests/lib/tls-peer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct pump {
    gnutls_session_t gnutls;
    gnutls_certificate_credentials_t certificate;
    gnutls_psk_client_credentials_t psk;
    int plain, wire;
    unsigned key_updates;
};

atomic_ullong tls_peer_sent_bytes;
atomic_uint tls_peer_farewells;

/* ---- the pump ---- */

static void pump_free(struct pump *pump)
{
    gnutls_deinit(pump->gnutls);
    if (pump->certificate)
        gnutls_certificate_free_credentials(pump->certificate);
    if (pump->psk)
        gnutls_psk_free_client_credentials(pump->psk);
    close(pump->wire);
    if (pump->plain >= 0)
        close(pump->plain);
    free(pump);
}

static bool pump_out(struct pump *pump)
{
    char data[16384];
    ssize_t got = recv(pump->plain, data, sizeof(data), 0);
    if (got <= 0)
        return false;
    if (pump->key_updates > 0) {
        pump->key_updates--;
        if (gnutls_session_key_update(pump->gnutls, GNUTLS_KU_PEER) != 0)
            return false;
    }
    for (ssize_t done = 0; done < got;) {
        ssize_t sent = gnutls_record_send(pump->gnutls, data + done, (size_t)(got - done));
        if (sent < 0 && sent != GNUTLS_E_AGAIN && sent != GNUTLS_E_INTERRUPTED)
            return false;
        done += sent > 0 ? sent : 0;
    }
    atomic_fetch_add(&tls_peer_sent_bytes, (unsigned long long)got);
    return true;
}

static bool pump_in(struct pump *pump)
{
    char data[16384];
    ssize_t got = gnutls_record_recv(pump->gnutls, data, sizeof(data));
    if (got == 0)
        atomic_fetch_add(&tls_peer_farewells, 1);
    if (got <= 0)
        return got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED;
    for (ssize_t done = 0; done < got;) {
        ssize_t sent = send(pump->plain, data + done, (size_t)(got - done), MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        done += sent;
    }
    return true;
}

static void *pump_run(void *arg)
{
    struct pump *pump = arg;
    struct pollfd watched[] = {{.fd = pump->wire, .events = POLLIN},
                               {.fd = pump->plain, .events = POLLIN}};
    bool going = true;
    while (going) {
        bool pending = gnutls_record_check_pending(pump->gnutls) > 0;
        if (poll(watched, 2, pending ? 0 : -1) < 0)
            continue;
        if (watched[0].revents || pending)
            going = pump_in(pump);
        if (going && watched[1].revents)
            going = pump_out(pump);
    }
    gnutls_bye(pump->gnutls, GNUTLS_SHUT_WR);
    pump_free(pump);
    return NULL;
}

/* ---- credentials ---- */

static void pump_load(struct pump *pump, const struct tls_client *client)
{
    char ca[300], cert[300], key[300], line[300] = "";
    gnutls_certificate_allocate_credentials(&pump->certificate);
    gnutls_credentials_set(pump->gnutls, GNUTLS_CRD_CERTIFICATE, pump->certificate);
    if (client->dir) {
        snprintf(ca, sizeof(ca), "%s/ca-cert.pem", client->dir);
        snprintf(cert, sizeof(cert), "%s/client-cert.pem", client->dir);
        snprintf(key, sizeof(key), "%s/client-key.pem", client->dir);
        assert_int_equal(
            gnutls_certificate_set_x509_trust_file(pump->certificate, ca, GNUTLS_X509_FMT_PEM), 1);
        if (access(cert, R_OK) == 0)
            assert_int_equal(gnutls_certificate_set_x509_key_file(pump->certificate, cert, key,
                                                                  GNUTLS_X509_FMT_PEM),
                             0);
        gnutls_session_set_verify_cert(pump->gnutls, "localhost", 0);
    }
    if (client->psk_name) {
        FILE *file = fopen(client->psk_file, "r");
        assert_non_null(file);
        assert_non_null(fgets(line, sizeof(line), file)); /* the first line's key will do */
        fclose(file);
        char *hex = strrchr(line, ':') + 1;
        hex[strcspn(hex, "\n")] = '\0';
        gnutls_datum_t datum = {.data = (unsigned char *)hex, .size = (unsigned)strlen(hex)};
        gnutls_psk_allocate_client_credentials(&pump->psk);
        gnutls_psk_set_client_credentials(pump->psk, client->psk_name, &datum, GNUTLS_PSK_KEY_HEX);
        gnutls_credentials_set(pump->gnutls, GNUTLS_CRD_PSK, pump->psk);
    }
}

static struct pump *pump_new(int fd, const struct tls_client *client)
{
    const char *rules = client->rules      ? client->rules
                        : client->psk_name ? "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK"
                                           : "NORMAL";
    struct pump *pump = calloc(1, sizeof(*pump));
    assert_non_null(pump);
    pump->plain = -1;
    pump->wire = fd;
    pump->key_updates = client->key_updates;
    /* Its certificate is sent whether the server would take it or not. */
    gnutls_init(&pump->gnutls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT);
    assert_int_equal(gnutls_priority_set_direct(pump->gnutls, rules, NULL), 0);
    pump_load(pump, client);
    gnutls_transport_set_int(pump->gnutls, fd);
    gnutls_handshake_set_timeout(pump->gnutls, PEER_WAIT_S * 1000);
    return pump;
}

bool tls_peer_ask(int fd)
{
    char byte;
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, OPT_STARTTLS, NULL, 0);
    send(fd, bytes.at, bytes.length, MSG_NOSIGNAL);
    bytes_clear(&bytes);
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) {
        close(fd);
        return false;
    }
    assert_int_equal(peer_option_reply(fd, OPT_STARTTLS, REP_ACK, NULL, 0), 0);
    return true;
}

int tls_peer_shake_hands(int fd, const struct tls_client *client)
{
    int pair[2], ret;
    pthread_t thread;
    struct timeval wait = {.tv_sec = PEER_WAIT_S};
    struct pump *pump = pump_new(fd, client);
    do
        ret = gnutls_handshake(pump->gnutls);
    while (ret < 0 && !gnutls_error_is_fatal(ret));
    if (ret < 0) {
        pump_free(pump);
        return -1;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    pump->plain = pair[1];
    assert_int_equal(pthread_create(&thread, NULL, pump_run, pump), 0);
    pthread_detach(thread);
    return pair[0];
}

int tls_peer_start(int fd, const struct tls_client *client)
{
    assert_true(tls_peer_ask(fd));
    return tls_peer_shake_hands(fd, client);
}

int tls_peer_greet(const char *address, const struct tls_client *client)
{
    int fd = tls_peer_start(peer_greet(address, 3), client);
    assert_true(fd >= 0);
    return fd;
}

bool tls_peer_is_answered(int fd)
{
    char reply[20];
    struct bytes bytes = {.length = 0};
    if (fd < 0)
        return false;
    bytes_add_option(&bytes, OPT_ABORT, NULL, 0);
    send(fd, bytes.at, bytes.length, MSG_NOSIGNAL);
    bytes_clear(&bytes);
    bool is_answered = recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply);
    close(fd);
    return is_answered;
}
