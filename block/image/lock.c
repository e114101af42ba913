/* SPDX-License-Identifier: Apache-2.0
 *
 * Image locks with QEMU's bytes. See lock.h.
 *
 * Each way of using an image has a number; two bytes of the file stand for it, whether the file is
 * that long or not. A user holds a shared lock (F_RDLCK) on the bytes that tell what it does and
 * what it does not bear:
 *
 *     number  use                 byte: "I do"   byte: "nobody else may"   reader     writer
 *     0       consistent reading  100            200                       100        100
 *     1       writing             101            201                       201        101 201
 *     3       resizing            103            203                       203        103 203
 *
 * (2 is writing what is there already, 4 was changing the graph: of no use here.) Shared locks
 * never conflict; what conflicts is found by asking: for each thing that the user does, whether
 * anybody holds "nobody else may", and for each that it does not bear, whether anybody holds "I
 * do". First lock, then ask: of two that come at once, each sees the other, and at worst neither
 * gets in. That is how QEMU's file driver goes about it since 2.10 (block/file-posix.c; the same
 * bytes are seen under strace).
 *
 * So a raw image is locked here like any other, though QEMU itself lets a raw image be written
 * under its readers.
 */
#include "block/image/lock.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BYTE_DOES = 100, BYTE_BARS = 200 };
enum { USE_READ = 0, USE_WRITE = 1, USE_RESIZE = 3 };

/* What a user bars others from and does itself, as bytes; a 0 ends the list. Barring comes first,
 * so that another writer is reported as one. */
static const short reader_bytes[] = {BYTE_BARS + USE_WRITE, BYTE_BARS + USE_RESIZE,
                                     BYTE_DOES + USE_READ, 0};
static const short writer_bytes[] = {BYTE_BARS + USE_WRITE,  BYTE_BARS + USE_RESIZE,
                                     BYTE_DOES + USE_READ,   BYTE_DOES + USE_WRITE,
                                     BYTE_DOES + USE_RESIZE, 0};

/* 0 or -errno. */
static int byte_set(int fd, short type, short byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int ret;
    do
        ret = fcntl(fd, F_OFD_SETLK, &lock);
    while (ret != 0 && errno == EINTR);
    return ret == 0 ? 0 : -errno;
}

/* Whether another description holds it: 1 or 0, or -errno. */
static int byte_is_held(int fd, short byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) != 0 ? -errno : lock.l_type != F_UNLCK;
}

/* The byte by which others would say that they do not bear what `byte` says, or do what it bars. */
static short byte_against(short byte)
{
    return byte < BYTE_BARS ? byte - BYTE_DOES + BYTE_BARS : byte - BYTE_BARS + BYTE_DOES;
}

static int bytes_take(int fd, const short *bytes)
{
    int ret = 0;
    for (; *bytes && ret == 0; bytes++)
        ret = byte_set(fd, F_RDLCK, *bytes);
    return ret;
}

static bool is_held_by_others(int ret)
{
    return ret == -EAGAIN || ret == -EACCES;
}

/* The kernel or the file system has no such locks, or no room for one more. */
static bool is_unsupported(int ret)
{
    return ret == -EINVAL || ret == -ENOTSUP || ret == -ENOSYS || ret == -ENOLCK;
}

static int conflict(const char *path, short held, struct err *err)
{
    const char *doing = "has it for itself";
    if (held == BYTE_DOES + USE_WRITE || held == BYTE_DOES + USE_RESIZE)
        doing = "has it open for writing";
    else if (held == BYTE_BARS + USE_WRITE || held == BYTE_BARS + USE_RESIZE)
        doing = "has it open and lets nobody else write to it";
    else if (held == BYTE_BARS + USE_READ)
        doing = "lets nobody else read it";
    err_set(err, ErrOpenFileFailed, 0,
            "image '%s' is locked by another process, which %s; it must be closed there first",
            path, doing);
    err->errnum = EAGAIN; /* without its text: the other process may close the image */
    return -1;
}

int image_lock(int fd, const char *path, bool read_only, bool *is_held, struct err *err)
{
    const short *bytes = read_only ? reader_bytes : writer_bytes;
    int ret = bytes_take(fd, bytes);
    if (is_held_by_others(ret))
        return conflict(path, 0, err);
    /* Who cannot lock can often still ask. */
    for (int held = 0; *bytes && (ret == 0 || is_unsupported(ret)); bytes++) {
        held = byte_is_held(fd, byte_against(*bytes));
        if (held > 0)
            return conflict(path, byte_against(*bytes), err);
        if (held < 0 && ret == 0)
            ret = held;
    }
    if (ret != 0 && !is_unsupported(ret))
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be locked", path);
    *is_held = ret == 0;
    if (ret != 0)
        log_warning("image '%s' is used without a lock, nothing keeps others off it: %s", path,
                    strerror(-ret));
    return 0;
}

int image_lock_to_reader(int fd)
{
    int write = byte_set(fd, F_UNLCK, BYTE_DOES + USE_WRITE);
    int resize = byte_set(fd, F_UNLCK, BYTE_DOES + USE_RESIZE);
    return write ? write : resize;
}

int image_lock_share(int fd)
{
    return bytes_take(fd, reader_bytes);
}
