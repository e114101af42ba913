/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets for REST.
 *
 *   unix:PATH    mode 0600. A socket that is left over, which nobody answers on, is replaced; a socket
 *                somebody answers on, and any other file, is not touched.
 *   ADDR:PORT    loopback only: 127.0.0.0/8 or [::1]; port 0 picks a free one.
 */
#ifndef SERVICE_LISTEN_H
#define SERVICE_LISTEN_H

#include "base/err.h"

#include <stdbool.h>

#define LISTEN_ADDRESS_BYTES 128

struct listen_socket {
    int fd;
    bool is_unix;
    char address[LISTEN_ADDRESS_BYTES]; /* as it was bound: "unix:/run/x/api.sock", "127.0.0.1:7420"
                                         */
};

/* Codes: InvalidValue (no address of ours), OpenFileFailed. */
int listen_open(struct listen_socket *listening, const char *address, struct err *err);

/* Removes the name of a Unix socket; the descriptor is the caller's. */
void listen_unlink(const struct listen_socket *listening);

#endif
