/* SPDX-License-Identifier: Apache-2.0
 *
 * A raw NBD client's TLS. tls_peer_start() shakes hands on a peer's socket and returns another one,
 * on which everything is plain text, so that the peer_ functions of nbd-peer.h go on working. A
 * thread of its own carries the bytes between the two, until either is closed:
 *
 *     test  <-- socket pair: plain text -->  pump  <-- TLS -->  server
 */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include "tests/lib/nbd-peer.h"

struct tls_client {
    const char *dir;                 /* ca-cert.pem, client-cert.pem, client-key.pem; or NULL */
    const char *psk_name, *psk_file; /* or NULL */
    const char *rules;               /* GnuTLS's priority string; NULL: its default */
    unsigned key_updates; /* asks for new keys of both sides so often, as records are sent */
};

/* Of all pumps, ever. */
extern atomic_ullong tls_peer_sent_bytes; /* plain text that is on its way to the server */
extern atomic_uint tls_peer_farewells;    /* ends that the server announced */

/* Sends STARTTLS, expects ACK. False and `fd` closed if the server hangs up, or has before. */
bool tls_peer_ask(int fd);

/* Sends STARTTLS, expects ACK, shakes hands. -1 and `fd` closed if that fails. Under TLS 1.3 the
 * server may refuse the client's certificate after it has returned; then the server hangs up. */
int tls_peer_start(int fd, const struct tls_client *client);

/* The same after tls_peer_ask(). */
int tls_peer_shake_hands(int fd, const struct tls_client *client);

/* The same from connecting on; must not fail. */
int tls_peer_greet(const char *address, const struct tls_client *client);

/* Whether the server answers an option, if there is a connection (-1: none); closes it. */
bool tls_peer_is_answered(int fd);

#endif
