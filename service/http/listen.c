/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets for REST. See listen.h.
 */
#include "service/http/listen.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LISTEN_BACKLOG 1024

/* ---- Unix sockets ---- */

static int listen_unix(struct listen_socket *listening, const char *path, struct err *err)
{
    struct unix_socket opened;
    if (unix_socket_listen(&opened, path, 0, err) != 0)
        return -1;
    *listening = (struct listen_socket){.fd = opened.fd, .is_unix = true, .socket = opened};
    snprintf(listening->address, sizeof(listening->address), "unix:%s", path);
    return 0;
}

/* ---- TCP ---- */

union tcp_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int port_parse(const char *text, in_port_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] || atoi(text) > 65535)
        return -1;
    *port = htons((in_port_t)atoi(text));
    return 0;
}

/* Splits "HOST:PORT" at its last colon and strips the brackets that IPv6 needs. */
static int tcp_address_parse(const char *text, union tcp_address *address)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return -1;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    size_t length = strlen(host);
    *address = (union tcp_address){0};
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        address->v6.sin6_family = AF_INET6;
        if (inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) != 1)
            return -1;
        return port_parse(colon + 1, &address->v6.sin6_port);
    }
    address->v4.sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) != 1)
        return -1;
    return port_parse(colon + 1, &address->v4.sin_port);
}

static bool tcp_address_is_loopback(const union tcp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static void tcp_address_format(const union tcp_address *address, char *text, size_t bytes)
{
    char host[INET6_ADDRSTRLEN];
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        snprintf(text, bytes, "%s:%u", host, ntohs(address->v4.sin_port));
    } else {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        snprintf(text, bytes, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    }
}

static int listen_tcp(struct listen_socket *listening, const char *text, struct err *err)
{
    union tcp_address address;
    if (tcp_address_parse(text, &address) != 0)
        return err_set(err, ErrInvalidValue, 0,
                       "'%.200s' is no address; write unix:PATH, 127.0.0.1:7420 or [::1]:7420",
                       text);
    if (!tcp_address_is_loopback(&address))
        return err_set(
            err, ErrInvalidValue, 0,
            "'%s' is not a loopback address; only 127.0.0.1 and [::1] are served without "
            "TLS and tokens",
            text);
    socklen_t bytes = address.any.sa_family == AF_INET ? sizeof(address.v4) : sizeof(address.v6);
    CLEANUP_CLOSE int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, &address.any, bytes) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, &address.any, &bytes) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "cannot listen on '%s'", text);
    *listening = (struct listen_socket){.fd = steal_fd(&fd)};
    tcp_address_format(&address, listening->address, sizeof(listening->address));
    return 0;
}

int listen_open(struct listen_socket *listening, const char *address, struct err *err)
{
    if (strncmp(address, "unix:", 5) == 0)
        return listen_unix(listening, address + 5, err);
    return listen_tcp(listening, address, err);
}

void listen_unlink(struct listen_socket *listening)
{
    if (listening->is_unix)
        unix_socket_remove(&listening->socket);
}
