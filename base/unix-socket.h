/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening Unix socket at a path, which no two daemons serve at once. Used for REST and for NBD;
 * any thread.
 *
 *     PATH        the socket, mode 0600
 *     PATH.lock   an empty file, locked (flock) for as long as the socket is served
 *
 * Invariants:
 *   1. Only who holds the lock looks at PATH, binds it or unlinks it. So nobody takes a socket that
 *      another daemon is about to listen on for one that a killed daemon left behind.
 *   2. Only who holds the lock unlinks PATH.lock, and whoever locked a file that PATH.lock no
 *      longer leads to starts again. So two daemons never hold locks on two files of that name.
 *   3. What is unlinked is our own socket, or one on which nobody answers.
 *
 * A daemon that is killed leaves both files; the kernel frees its lock, and the next one replaces
 * the socket.
 */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

#include "base/err.h"

#include <sys/types.h>
#include <sys/un.h>

struct unix_socket {
    int fd;      /* listening; the caller may take it over */
    int lock_fd; /* holds the lock */
    struct sockaddr_un name;
    dev_t dev; /* which file the socket is */
    ino_t ino;
};

/* Binds and listens, close-on-exec and non-blocking. On failure nothing is
 * left and nobody else's socket is touched. Codes: InvalidValue (the path's length), OpenFileFailed
 * (in use, not a socket, and what the system says). */
int unix_socket_listen(struct unix_socket *listening, const char *path, struct err *err);

/* Removes the socket's name, if it still leads to this socket, and frees the lock. Closes all but
 * `fd`, which is the caller's: it may be closed before. */
void unix_socket_remove(struct unix_socket *listening);

#endif
