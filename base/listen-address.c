/* SPDX-License-Identifier: Apache-2.0
 *
 * See listen-address.h.
 */
#include "base/listen-address.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_PREFIX "unix:"
#define FD_PREFIX   "fd:"

static int port_parse(const char *text, in_port_t *port)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long number = strtoul(text, NULL, 10);
    if (digits == 0 || digits > 5 || text[digits] || number > UINT16_MAX)
        return -1;
    *port = htons((in_port_t)number);
    return 0;
}

/* Splits "HOST:PORT" at its last colon and strips the brackets that IPv6 needs. */
static int tcp_address_parse(union tcp_address *address, const char *text)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return -1;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    size_t length = strlen(host);
    *address = (union tcp_address){.v6 = {0}};
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
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

int listen_address_parse(struct listen_address *address, const char *text, struct err *err)
{
    in_port_t fd;
    *address = (struct listen_address){.fd = -1};
    if (strncmp(text, FD_PREFIX, strlen(FD_PREFIX)) == 0 &&
        port_parse(text + strlen(FD_PREFIX), &fd) == 0) {
        address->fd = ntohs(fd);
        return 0;
    }
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        address->path = text + strlen(UNIX_PREFIX);
        return 0;
    }
    if (tcp_address_parse(&address->tcp, text) == 0)
        return 0;
    return err_set(err, ErrInvalidValue, 0,
                   "'%.200s' is no address; write unix:PATH, ADDR:PORT or [ADDR]:PORT with a "
                   "numeric address, such as 127.0.0.1:7420 or [::1]:7420",
                   text);
}

socklen_t tcp_address_bytes(const union tcp_address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

bool tcp_address_is_loopback(const union tcp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

bool tcp_address_replace_wildcard(union tcp_address *address)
{
    struct in6_addr *v6 = &address->v6.sin6_addr;
    if (address->any.sa_family == AF_INET) {
        if (address->v4.sin_addr.s_addr != htonl(INADDR_ANY))
            return false;
        address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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

void tcp_address_format(const union tcp_address *address, char text[LISTEN_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        snprintf(text, LISTEN_ADDRESS_BYTES, "%s:%u", host, ntohs(address->v4.sin_port));
    } else {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        snprintf(text, LISTEN_ADDRESS_BYTES, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    }
}
