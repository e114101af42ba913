/* SPDX-License-Identifier: Apache-2.0
 *
 * See listener.h.
 */
#include "base/listener.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static int listener_open_unix(struct listener *listener, const char *path, struct err *err)
{
    struct unix_socket opened;
    if (unix_socket_listen(&opened, path, err) != 0)
        return -1;
    *listener = (struct listener){.fd = opened.fd, .is_unix = true, .socket = opened};
    snprintf(listener->address, sizeof(listener->address), "unix:%s", path);
    snprintf(listener->reach, sizeof(listener->reach), "unix:%s", path);
    return 0;
}

static int listener_open_tcp(struct listener *listener, union tcp_address *where, const char *text,
                             struct err *err)
{
    socklen_t bytes = tcp_address_bytes(where);
    CLEANUP_CLOSE int fd =
        socket(where->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(fd, &where->any, bytes) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, &where->any, &bytes) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "cannot listen on '%s'", text);
    *listener =
        (struct listener){.fd = steal_fd(&fd), .is_remote = !tcp_address_is_loopback(where)};
    tcp_address_format(where, listener->address);
    listener->is_wildcard = tcp_address_replace_wildcard(where);
    tcp_address_format(where, listener->reach);
    return 0;
}

int listener_open(struct listener *listener, const char *address, const char *local_only,
                  struct err *err)
{
    struct listen_address parsed;
    if (listen_address_parse(&parsed, address, err) != 0)
        return -1;
    if (parsed.path)
        return listener_open_unix(listener, parsed.path, err);
    if (local_only && !tcp_address_is_loopback(&parsed.tcp))
        return err_set(err, ErrInvalidValue, 0, "'%s' is not a loopback address: %s", address,
                       local_only);
    return listener_open_tcp(listener, &parsed.tcp, address, err);
}

void listener_unlink(struct listener *listener)
{
    if (listener->is_unix && listener->socket.lock_fd >= 0)
        unix_socket_remove(&listener->socket);
}

void listener_close(struct listener *listener)
{
    listener_unlink(listener);
    close(steal_fd(&listener->fd));
}
