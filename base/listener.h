/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening socket of REST or NBD. Opened and closed by one thread at a time; any thread may
 * accept.
 *
 *   unix:PATH    mode 0600 (unix-socket.h) until listener_admit(). A socket that a killed daemon
 *                left is replaced; one that is served, and any other file, is not touched.
 *   ADDR:PORT    TCP (listen-address.h). Beyond 127.0.0.0/8 and [::1] only where the caller allows
 *                it.
 *   fd:NUMBER    a listening socket of one of these kinds, passed by the service manager, which
 *                made its name and its mode and will remove it.
 */
#ifndef BASE_LISTENER_H
#define BASE_LISTENER_H

#include "base/err.h"
#include "base/listen-address.h"
#include "base/unix-socket.h"

#include <stdbool.h>

struct listener {
    int fd;                             /* non-blocking, close-on-exec */
    char address[LISTEN_ADDRESS_BYTES]; /* as it was bound: "unix:PATH", "[::1]:10809" */
    char reach[LISTEN_ADDRESS_BYTES];   /* where to connect to: loopback if that is a wildcard */
    bool is_wildcard;
    bool is_unix;
    bool is_remote;            /* TCP beyond loopback */
    struct unix_socket socket; /* if is_unix; its lock_fd is -1 if it was passed */
};

/* Parses, and refuses TCP beyond loopback: `local_only` says why; NULL: it is allowed. A passed
 * socket is not looked at. InvalidValue. */
int listener_parse(struct listen_address *parsed, const char *address, const char *local_only,
                   struct err *err);

/* Parses, binds and listens. `local_only` says why addresses beyond loopback are refused; NULL:
 * they are not. On failure nothing is left. Codes: InvalidValue, OpenFileFailed. */
int listener_open(struct listener *listener, const char *address, const char *local_only,
                  struct err *err);

/* Lets others connect to a Unix socket that was bound: the members of the group, or, if that cannot
 * be or `group` is (gid_t)-1, everybody; the caller judges who it is. OpenFileFailed. */
int listener_admit(const struct listener *listener, gid_t group, struct err *err);

/* Ends what listener_admit() did: only root and the daemon's user may connect. OpenFileFailed. */
int listener_restrict(const struct listener *listener, struct err *err);

/* Whether the two can succeed: the socket's path still leads to it. OpenFileFailed. */
int listener_check(const struct listener *listener, struct err *err);

/* Removes the name of a Unix socket, once; connections that wait may still be accepted. */
void listener_unlink(struct listener *listener);

/* Unlinks and closes. */
void listener_close(struct listener *listener);

#endif
