/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening files beneath the image directory. See image.h.
 *
 * A path is cut to what follows the image directory and handed to openat2 relative to that
 * directory's descriptor; what was really opened is asked back from /proc/self/fd, so that a
 * recorded path never depends on a symbolic link. Source: openat2(2), RESOLVE_BENEATH and
 * RESOLVE_NO_MAGICLINKS.
 */
#include "block/image/image.h"

#include "block/image/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int open_beneath(int dirfd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC | O_NOCTTY),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
}

/* The canonical path of an open descriptor; heap, or NULL with errno. */
static char *descriptor_path(int fd)
{
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path));
    if (length < 0)
        return NULL;
    if (length == (ssize_t)sizeof(path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return strndup(path, (size_t)length);
}

int image_dir_open(struct image_dir *dir, const char *path, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "image directory '%s' cannot be opened",
                       path);
    CLEANUP_FREE char *canonical = descriptor_path(fd);
    CLEANUP_FREE char *given = strdup(path);
    if (!canonical || !given)
        return err_set(err, ErrOpenFileFailed, errno, "image directory '%s' cannot be resolved",
                       path);
    size_t length = strlen(given);
    while (length > 1 && given[length - 1] == '/')
        given[--length] = 0;
    *dir = (struct image_dir){.fd = steal_fd(&fd), .path = steal(canonical), .given = steal(given)};
    return 0;
}

void image_dir_close(struct image_dir *dir)
{
    if (dir->fd >= 0)
        close(dir->fd);
    free(dir->path);
    free(dir->given);
    *dir = (struct image_dir){.fd = -1};
}

int image_dir_check(const struct image_dir *dir, struct err *err)
{
    struct stat held, now;
    if (fstat(dir->fd, &held) == 0 && stat(dir->path, &now) == 0 && held.st_dev == now.st_dev &&
        held.st_ino == now.st_ino)
        return 0;
    return err_set(err, ErrOpenFileFailed, 0,
                   "the image directory '%s' is not the one that the daemon started with: undo "
                   "what was mounted there or renamed, or restart the daemon",
                   dir->path);
}

/* What follows `prefix` and a slash in `path`, or NULL if it does not start so. */
static const char *path_after(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strcmp(prefix, "/") == 0)
        length = 0;
    if (strncmp(path, prefix, length) != 0 || path[length] != '/')
        return NULL;
    path += length;
    while (*path == '/')
        path++;
    return path;
}

/* `path` relative to the image directory, or NULL and *err. */
static const char *path_in_dir(const struct image_dir *dir, const char *path, struct err *err)
{
    const char *relative = path;
    if (path[0] == '/') {
        relative = path_after(path, dir->path);
        if (!relative && dir->given[0] == '/')
            relative = path_after(path, dir->given);
    }
    if (!relative)
        err_set(err, ErrOpenFileFailed, 0, "'%s' is not beneath the image directory '%s'", path,
                dir->path);
    else if (!*relative)
        relative = NULL, err_set(err, ErrOpenFileFailed, 0, "'%s' names no file", path);
    return relative;
}

/* Why openat2 refused `path`. */
static int open_error(const struct image_dir *dir, const char *path, struct err *err)
{
    if (errno == EXDEV)
        return err_set(err, ErrOpenFileFailed, 0, "'%s' leads out of the image directory '%s'",
                       path, dir->path);
    return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be opened", path);
}

int image_open(const struct image_dir *dir, const char *path, bool read_only, char **canonical,
               struct err *err)
{
    const char *relative = path_in_dir(dir, path, err);
    if (!relative || image_dir_check(dir, err) != 0)
        return -1;
    /* O_NONBLOCK: a FIFO planted here must not hang the open; it has no effect on a regular file.
     */
    CLEANUP_CLOSE int fd =
        open_beneath(dir->fd, relative, (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK);
    if (fd < 0)
        return open_error(dir, path, err);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return open_error(dir, path, err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ErrOpenFileFailed, 0, "image '%s' is not a regular file", path);
    *canonical = descriptor_path(fd);
    if (!*canonical)
        return open_error(dir, path, err);
    return steal_fd(&fd);
}

static int name_check(const char *name, const char *path, struct err *err)
{
    return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0
               ? 0
               : err_set(err, ErrOpenFileFailed, 0, "'%s' names no file", path);
}

int image_place_open(const struct image_dir *dir, const char *path, struct image_place *place,
                     struct err *err)
{
    const char *relative = path_in_dir(dir, path, err);
    if (!relative || image_dir_check(dir, err) != 0)
        return -1;
    const char *slash = strrchr(relative, '/');
    const char *name = slash ? slash + 1 : relative;
    if (name_check(name, path, err) != 0)
        return -1;
    CLEANUP_FREE char *parent = strndup(relative, slash ? (size_t)(slash - relative) : 0);
    if (!parent)
        return err_set(err, ErrOutOfResources, ENOMEM, "'%s' cannot be resolved", path);
    CLEANUP_CLOSE int dirfd = *parent ? open_beneath(dir->fd, parent, O_RDONLY | O_DIRECTORY)
                                      : fcntl(dir->fd, F_DUPFD_CLOEXEC, 0);
    if (dirfd < 0)
        return open_error(dir, path, err);
    CLEANUP_FREE char *dir_path = *parent ? descriptor_path(dirfd) : strdup(dir->path);
    char *full = NULL;
    if (!dir_path || asprintf(&full, "%s/%s", strcmp(dir_path, "/") == 0 ? "" : dir_path, name) < 0)
        return open_error(dir, path, err);
    *place = (struct image_place){
        .dirfd = steal_fd(&dirfd), .path = full, .name = strrchr(full, '/') + 1};
    return 0;
}

int image_place_open_beside(const struct image_place *other, const char *path,
                            struct image_place *place, struct err *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (name_check(name, path, err) != 0)
        return -1;
    char *full = NULL;
    CLEANUP_CLOSE int dirfd = fcntl(other->dirfd, F_DUPFD_CLOEXEC, 0);
    if (dirfd < 0 ||
        asprintf(&full, "%.*s%s", (int)(other->name - other->path), other->path, name) < 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be opened", path);
    *place = (struct image_place){
        .dirfd = steal_fd(&dirfd), .path = full, .name = strrchr(full, '/') + 1};
    return 0;
}

static int place_identity(const struct image_place *place, struct identity *identity,
                          struct err *err)
{
    int ret = identity_of(place->dirfd, identity);
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "the directory of '%s' cannot be identified",
                         place->path)
               : 0;
}

int image_directory_identity(const struct image_dir *dir, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    struct identity found;
    if (image_place_open(dir, path, &place, err) != 0 || place_identity(&place, &found, err) != 0)
        return -1;
    memcpy(identity, found.text, sizeof(found.text));
    return 0;
}

int image_place_find(const struct image_dir *dir, const char *path, const char *directory,
                     struct image_place *place, struct err *err)
{
    struct err cause;
    struct identity now;
    if (image_place_open(dir, path, place, &cause) != 0) {
        if (!directory && (cause.errnum == ENOENT || cause.errnum == ENOTDIR))
            return 0;
        *err = cause;
        return -1;
    }
    if (!directory)
        return 1;
    if (place_identity(place, &now, err) != 0)
        return -1;
    if (!identity_is_same_file_system(directory, now.text))
        return err_set(err, ErrOpenFileFailed, 0,
                       "the file system of '%s' is away: another one is mounted in its place",
                       path);
    return 1;
}

int image_place_check_free(const struct image_place *place, struct err *err)
{
    struct stat st;
    int error = fstatat(place->dirfd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? EEXIST : errno;
    return error == ENOENT ? 0
                           : err_set(err, ErrOpenFileFailed, error, "image '%s' cannot be created",
                                     place->path);
}

void image_place_close(struct image_place *place)
{
    if (place->dirfd >= 0)
        close(place->dirfd);
    free(place->path);
    *place = (struct image_place)IMAGE_PLACE_INIT;
}

/* Both are canonical and absolute. NULL when memory is short. */
static char *image_relative(const char *from_dir, const char *to)
{
    /* The common directories: up to the last slash at which both paths still agree. */
    size_t common = 0, i = 0;
    for (; from_dir[i] && from_dir[i] == to[i]; i++)
        if (to[i] == '/')
            common = i;
    if (!from_dir[i] && to[i] == '/')
        common = i;

    size_t ups = 0;
    for (const char *p = from_dir + common; *p; p++)
        if (*p == '/' && p[1])
            ups++;
    const char *rest = to + common + 1;
    bool is_protocol_like = !ups && strchr(rest, ':');
    char *relative = malloc(ups * 3 + strlen(rest) + 3);
    if (!relative)
        return NULL;
    char *end = relative;
    for (size_t up = 0; up < ups; up++)
        end = stpcpy(end, "../");
    if (is_protocol_like)
        end = stpcpy(end, "./");
    strcpy(end, rest);
    return relative;
}

char *image_backing_name(const struct image_place *place, const char *to, struct err *err)
{
    CLEANUP_FREE char *directory = strndup(place->path, (size_t)(place->name - place->path) - 1);
    CLEANUP_FREE char *name = directory ? image_relative(*directory ? directory : "/", to) : NULL;
    if (name && strlen(name) <= QCOW2_BACKING_NAME_MAX)
        return steal(name);
    if (name)
        err_set(err, ErrOpenFileFailed, ENAMETOOLONG,
                "image '%s' cannot name its backing file in %u bytes; put it nearer to that",
                place->path, QCOW2_BACKING_NAME_MAX);
    else
        err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be created", place->path);
    return NULL;
}
