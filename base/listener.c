/* SPDX-License-Identifier: Apache-2.0
 *
 * See listener.h.
 */
#include "base/listener.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

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

static int passed_fail(int fd, int errnum, struct err *err)
{
    return err_set(err, ErrInvalidValue, errnum,
                   "descriptor %d is not a listening socket of TCP or of a Unix path", fd);
}

/* The address of a passed socket: its path, or with *path NULL its TCP address. */
static int passed_address(int fd, struct sockaddr_un *name, const char **path,
                          union tcp_address *tcp, struct err *err)
{
    struct sockaddr_storage any = {0};
    socklen_t bytes = sizeof(any), option_bytes = sizeof(int);
    int listens = 0, type = 0;
    if (getsockname(fd, (struct sockaddr *)&any, &bytes) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &option_bytes) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &option_bytes) != 0)
        return passed_fail(fd, errno, err);
    memcpy(name, &any, sizeof(*name));
    memcpy(tcp, &any, sizeof(*tcp));
    *path = any.ss_family == AF_UNIX ? name->sun_path : NULL;
    bool is_known = any.ss_family == AF_INET || any.ss_family == AF_INET6 || (*path && **path);
    return listens && type == SOCK_STREAM && is_known ? 0 : passed_fail(fd, 0, err);
}

static int listener_adopt(struct listener *listener, int fd, const char *local_only,
                          struct err *err)
{
    struct sockaddr_un name;
    union tcp_address where;
    const char *path = NULL;
    if (passed_address(fd, &name, &path, &where, err) != 0)
        return -1;
    if (!path && local_only && !tcp_address_is_loopback(&where))
        return err_set(err, ErrInvalidValue, 0, "descriptor %d is no socket on loopback: %s", fd,
                       local_only);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        return passed_fail(fd, errno, err);
    *listener = (struct listener){.fd = fd, .is_unix = path, .socket.lock_fd = -1};
    if (path) {
        snprintf(listener->address, sizeof(listener->address), "unix:%s", path);
        snprintf(listener->reach, sizeof(listener->reach), "unix:%s", path);
        return 0;
    }
    listener->is_remote = !tcp_address_is_loopback(&where);
    tcp_address_format(&where, listener->address);
    listener->is_wildcard = tcp_address_replace_wildcard(&where);
    tcp_address_format(&where, listener->reach);
    return 0;
}

int listener_parse(struct listen_address *parsed, const char *address, const char *local_only,
                   struct err *err)
{
    if (listen_address_parse(parsed, address, err) != 0)
        return -1;
    if (local_only && parsed->fd < 0 && !parsed->path && !tcp_address_is_loopback(&parsed->tcp))
        return err_set(err, ErrInvalidValue, 0, "'%s' is not a loopback address: %s", address,
                       local_only);
    return 0;
}

int listener_open(struct listener *listener, const char *address, const char *local_only,
                  struct err *err)
{
    struct listen_address parsed;
    if (listener_parse(&parsed, address, local_only, err) != 0)
        return -1;
    if (parsed.fd >= 0)
        return listener_adopt(listener, parsed.fd, local_only, err);
    if (parsed.path)
        return listener_open_unix(listener, parsed.path, err);
    return listener_open_tcp(listener, &parsed.tcp, address, err);
}

int listener_admit(const struct listener *listener, gid_t group, struct err *err)
{
    const char *path = listener->socket.name.sun_path;
    if (!listener->is_unix || listener->socket.lock_fd < 0)
        return 0;
    bool is_given = group != (gid_t)-1 && chown(path, (uid_t)-1, group) == 0;
    if (chmod(path, is_given ? 0660 : 0666) == 0)
        return 0;
    return err_set(err, ErrOpenFileFailed, errno, "others cannot be admitted to socket '%s'", path);
}

int listener_restrict(const struct listener *listener, struct err *err)
{
    const char *path = listener->socket.name.sun_path;
    if (!listener->is_unix || listener->socket.lock_fd < 0 || chmod(path, 0600) == 0)
        return 0;
    return err_set(err, ErrOpenFileFailed, errno, "others are still admitted to socket '%s'", path);
}

int listener_check(const struct listener *listener, struct err *err)
{
    struct stat stat_;
    const struct unix_socket *socket = &listener->socket;
    if (!listener->is_unix || socket->lock_fd < 0)
        return 0;
    int errnum = stat(socket->name.sun_path, &stat_) != 0 ? errno : 0;
    if (!errnum && stat_.st_dev == socket->dev && stat_.st_ino == socket->ino)
        return 0;
    return err_set(err, ErrOpenFileFailed, errnum, "'%s' is no longer the socket that is served",
                   socket->name.sun_path);
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
