/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening addresses of the NBD server, and the kinds of peers that connect to them.
 */
#ifndef BLOCK_NBD_LISTENER_H
#define BLOCK_NBD_LISTENER_H

#include "base/err.h"
#include "base/unix-socket.h"

#include <stdbool.h>

enum { NBD_ADDRESS_BYTES = 128 };

/* Connections still in the handshake are counted for each kind of listener. */
enum nbd_kind { NBD_UNIX, NBD_LOOPBACK, NBD_REMOTE, NBD_KINDS };

/* Who is at the other end: an address (IPv4 as IPv6 has it; of other IPv6 the network, 64 bits) or
 * a user. */
struct nbd_peer {
    enum nbd_kind kind;
    unsigned char id[16];
};

struct nbd_listener {
    int fd;
    char address[NBD_ADDRESS_BYTES]; /* as it was bound: "unix:PATH", "[::1]:10809" */
    char reach[NBD_ADDRESS_BYTES];   /* where to connect to: loopback if `address` is a wildcard */
    bool is_wildcard;
    bool is_unix;
    bool is_remote;            /* TCP beyond loopback: its connections take TLS only */
    struct unix_socket socket; /* if is_unix */
};

/* Parses, binds and listens; with `remote`, beyond loopback too. On failure nothing is left. Codes:
 * InvalidValue, OpenFileFailed. */
int nbd_listener_open(struct nbd_listener *listener, const char *address, bool remote,
                      struct err *err);
void nbd_listener_close(struct nbd_listener *listener);

#endif
