/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a listening address, parsed:
 *
 *   unix:PATH     a Unix socket
 *   ADDR:PORT     TCP; ADDR is numeric, port 0 lets the kernel pick one
 *   [ADDR]:PORT   the same over IPv6
 *   fd:NUMBER     a socket that listens already, passed by the service manager
 *
 * Names are not resolved: what is served must not depend on a name server.
 */
#ifndef BASE_LISTEN_ADDRESS_H
#define BASE_LISTEN_ADDRESS_H

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

enum { LISTEN_ADDRESS_BYTES = 128 }; /* of a text, with its zero */

union tcp_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct listen_address {
    int fd;           /* passed; -1: none, but one of the next two */
    const char *path; /* of a Unix socket, in the text; NULL: TCP */
    union tcp_address tcp;
};

/* InvalidValue: the text is none of these forms. The path is not checked. */
int listen_address_parse(struct listen_address *address, const char *text, struct err *err);

socklen_t tcp_address_bytes(const union tcp_address *address);

/* Whether it is of 127.0.0.0/8, or ::1. */
bool tcp_address_is_loopback(const union tcp_address *address);

/* If the address is all addresses of its family, makes it the loopback one: nobody connects to a
 * wildcard. */
bool tcp_address_replace_wildcard(union tcp_address *address);

/* "127.0.0.1:7420" or "[::1]:7420" */
void tcp_address_format(const union tcp_address *address, char text[LISTEN_ADDRESS_BYTES]);

#endif
