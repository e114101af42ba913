/* SPDX-License-Identifier: Apache-2.0
 *
 * See unix-socket.h.
 */
#include "base/unix-socket.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define LOCK_SUFFIX ".lock"

struct lock_path {
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(LOCK_SUFFIX)];
};

static struct lock_path lock_path(const struct unix_socket *listening)
{
    struct lock_path path;
    snprintf(path.text, sizeof(path.text), "%s" LOCK_SUFFIX, listening->name.sun_path);
    return path;
}

/* Whether the path leads to the file that is open, not through a link. */
static bool path_leads_to(const char *path, int fd)
{
    struct stat there, here;
    return lstat(path, &there) == 0 && fstat(fd, &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

/* Invariant 2. Returns the descriptor that holds the lock. */
static int lock_acquire(const struct unix_socket *listening, struct err *err)
{
    struct lock_path path = lock_path(listening);
    for (;;) {
        CLEANUP_CLOSE int fd =
            open(path.text, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_set(err, ErrOpenFileFailed, errno, "lock '%s' cannot be opened", path.text);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EINTR)
                continue;
            if (errno == EWOULDBLOCK)
                return err_set(err, ErrOpenFileFailed, EADDRINUSE,
                               "socket '%s' has a server: a daemon that runs holds '%s'",
                               listening->name.sun_path, path.text);
            return err_set(err, ErrOpenFileFailed, errno, "lock '%s' cannot be taken", path.text);
        }
        if (path_leads_to(path.text, fd))
            return steal_fd(&fd);
    }
}

static void lock_release(const struct unix_socket *listening, int fd)
{
    struct lock_path path = lock_path(listening);
    if (path_leads_to(path.text, fd))
        unlink(path.text);
    close(fd);
}

/* Makes way for a new socket, if nobody serves there. The lock is held. */
static int stale_remove(const struct sockaddr_un *name, struct err *err)
{
    const char *path = name->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return 0;
        return err_set(err, ErrOpenFileFailed, errno, "socket '%s' cannot be looked at", path);
    }
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ErrOpenFileFailed, EEXIST, "'%s' is not a socket", path);
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "socket '%s' cannot be tried", path);
    /* A server other than ours holds no lock, but answers, or has a queue that is full (EAGAIN). */
    if (connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno != ECONNREFUSED)
        return err_set(err, ErrOpenFileFailed, EADDRINUSE, "socket '%s' has a server", path);
    if (unlink(path) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "stale socket '%s' cannot be removed", path);
    return 0;
}

/* The lock is held. */
static int socket_bind(struct unix_socket *listening, struct err *err)
{
    const char *path = listening->name.sun_path;
    struct stat st;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the socket before bind() is the mode of the file after it: no moment with another
     * one. */
    if (fd < 0 || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)&listening->name, sizeof(listening->name)) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "socket '%s' cannot be created", path);
    if (lstat(path, &st) != 0 || listen(fd, SOMAXCONN) != 0) {
        err_set(err, ErrOpenFileFailed, errno, "socket '%s' cannot be served", path);
        unlink(path);
        return -1;
    }
    listening->dev = st.st_dev;
    listening->ino = st.st_ino;
    listening->fd = steal_fd(&fd);
    return 0;
}

int unix_socket_listen(struct unix_socket *listening, const char *path, struct err *err)
{
    struct unix_socket opened = {.fd = -1, .name = {.sun_family = AF_UNIX}};
    if (!*path || strlen(path) >= sizeof(opened.name.sun_path))
        return err_set(err, ErrInvalidValue, 0, "a socket's path has 1 to %zu bytes, '%s' has %zu",
                       sizeof(opened.name.sun_path) - 1, path, strlen(path));
    strcpy(opened.name.sun_path, path);
    opened.lock_fd = lock_acquire(&opened, err);
    if (opened.lock_fd < 0)
        return -1;
    if (stale_remove(&opened.name, err) != 0 || socket_bind(&opened, err) != 0) {
        lock_release(&opened, opened.lock_fd);
        return -1;
    }
    *listening = opened;
    return 0;
}

void unix_socket_remove(struct unix_socket *listening)
{
    const char *path = listening->name.sun_path;
    struct stat st;
    if (lstat(path, &st) == 0 && st.st_dev == listening->dev && st.st_ino == listening->ino)
        unlink(path);
    lock_release(listening, steal_fd(&listening->lock_fd));
}
