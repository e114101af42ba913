/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening addresses of the NBD server. On the thread that calls nbd_server_listen() or
 * nbd_server_free().
 *
 *   "unix:PATH"   a socket file with mode 0600 (unix-socket.h). One that a killed daemon left is
 *                 replaced; anything else there stays and is an error
 *   "ADDR:PORT"   TCP, ADDR a numeric address, IPv6 in brackets; port 0 lets the kernel pick one.
 *                 Beyond 127.0.0.0/8 and [::1] only where the caller allows it
 */
#include "block/nbd/listener.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define UNIX_PREFIX "unix:"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int listener_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* ---- Unix sockets ---- */

static int listener_open_unix(struct nbd_listener *listener, const char *path, struct err *err)
{
    struct unix_socket opened;
    if (unix_socket_listen(&opened, path, SOCK_NONBLOCK, err) != 0)
        return -1;
    *listener = (struct nbd_listener){.fd = opened.fd, .is_unix = true, .socket = opened};
    snprintf(listener->address, sizeof(listener->address), UNIX_PREFIX "%s", path);
    snprintf(listener->reach, sizeof(listener->reach), UNIX_PREFIX "%s", path);
    return 0;
}

/* ---- TCP ---- */

static int listener_invalid(const char *address, struct err *err)
{
    return err_set(err, ErrInvalidValue, 0,
                   "NBD address '%s' is none of unix:PATH, ADDR:PORT and [ADDR]:PORT", address);
}

/* Splits "ADDR:PORT" or "[ADDR]:PORT"; -1 if it is neither. */
static int address_split(const char *address, char host[64], bool *brackets, uint16_t *port)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;
    *brackets = length > 2 && address[0] == '[' && address[length - 1] == ']';
    if (*brackets) {
        address++;
        length -= 2;
    }
    if (length == 0 || length >= 64)
        return -1;
    memcpy(host, address, length);
    host[length] = '\0';

    size_t digits = strspn(colon + 1, "0123456789");
    unsigned long number = strtoul(colon + 1, NULL, 10);
    if (digits == 0 || digits > 5 || colon[1 + digits] || number > UINT16_MAX)
        return -1;
    *port = (uint16_t)number;
    return 0;
}

static int address_parse(const char *address, union address *where, socklen_t *length)
{
    char host[64];
    bool brackets;
    uint16_t port;
    *where = (union address){.any = {.sa_family = AF_UNSPEC}};
    if (address_split(address, host, &brackets, &port) != 0)
        return -1;
    if (brackets) {
        where->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        *length = sizeof(where->v6);
        return inet_pton(AF_INET6, host, &where->v6.sin6_addr) == 1 ? 0 : -1;
    }
    where->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    *length = sizeof(where->v4);
    return inet_pton(AF_INET, host, &where->v4.sin_addr) == 1 ? 0 : -1;
}

static bool address_is_loopback(const union address *where)
{
    return where->any.sa_family == AF_INET6
               ? IN6_IS_ADDR_LOOPBACK(&where->v6.sin6_addr)
               : ntohl(where->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* If it is all addresses of its family, makes it the loopback one: nobody connects to a
 * wildcard. */
static bool address_replace_wildcard(union address *where)
{
    struct in6_addr *v6 = &where->v6.sin6_addr;
    if (where->any.sa_family == AF_INET) {
        if (where->v4.sin_addr.s_addr != htonl(INADDR_ANY))
            return false;
        where->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return true;
    }
    if (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr32[3] == htonl(INADDR_ANY))
        v6->s6_addr32[3] = htonl(INADDR_LOOPBACK);
    else if (IN6_IS_ADDR_UNSPECIFIED(v6))
        *v6 = in6addr_loopback;
    else
        return false;
    return true;
}

static void address_format(const union address *where, char text[NBD_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (where->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &where->v6.sin6_addr, host, sizeof(host));
        snprintf(text, NBD_ADDRESS_BYTES, "[%s]:%u", host, ntohs(where->v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &where->v4.sin_addr, host, sizeof(host));
        snprintf(text, NBD_ADDRESS_BYTES, "%s:%u", host, ntohs(where->v4.sin_port));
    }
}

static int listener_open_tcp(struct nbd_listener *listener, const char *address, bool remote,
                             struct err *err)
{
    union address where;
    socklen_t length;
    if (address_parse(address, &where, &length) != 0)
        return listener_invalid(address, err);
    if (!address_is_loopback(&where) && !remote)
        return err_set(err, ErrInvalidValue, 0,
                       "NBD address '%s' is not a loopback address: those are served only with TLS "
                       "in which every client has a certificate that is verified or a pre-shared "
                       "key",
                       address);
    CLEANUP_CLOSE int fd = listener_socket(where.any.sa_family);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(fd, &where.any, length) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, &where.any, &length) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "NBD address '%s' cannot be served", address);
    *listener =
        (struct nbd_listener){.fd = steal_fd(&fd), .is_remote = !address_is_loopback(&where)};
    address_format(&where, listener->address);
    listener->is_wildcard = address_replace_wildcard(&where);
    address_format(&where, listener->reach);
    return 0;
}

/* ---- both ---- */

int nbd_listener_open(struct nbd_listener *listener, const char *address, bool remote,
                      struct err *err)
{
    if (strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return listener_open_unix(listener, address + strlen(UNIX_PREFIX), err);
    return listener_open_tcp(listener, address, remote, err);
}

void nbd_listener_close(struct nbd_listener *listener)
{
    if (listener->is_unix)
        unix_socket_remove(&listener->socket);
    close(listener->fd);
}
