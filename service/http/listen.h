/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets for REST.
 *
 *   unix:PATH    mode 0600 (unix-socket.h). A socket that a killed daemon left is replaced; one
 *                that is served, and any other file, is not touched.
 *   ADDR:PORT    loopback only: 127.0.0.0/8 or [::1]; port 0 picks a free one.
 */
#ifndef SERVICE_HTTP_LISTEN_H
#define SERVICE_HTTP_LISTEN_H

#include "base/err.h"
#include "base/unix-socket.h"

#include <stdbool.h>

#define LISTEN_ADDRESS_BYTES 128

struct listen_socket {
    int fd;
    bool is_unix;
    struct unix_socket socket;          /* if is_unix */
    char address[LISTEN_ADDRESS_BYTES]; /* as it was bound: "unix:/run/x/api.sock", "127.0.0.1:7420"
                                         */
};

/* Codes: InvalidValue (no address of ours), OpenFileFailed. */
int listen_open(struct listen_socket *listening, const char *address, struct err *err);

/* Removes the name and the lock of a Unix socket; the descriptor is the caller's. */
void listen_unlink(struct listen_socket *listening);

#endif
