/* SPDX-License-Identifier: Apache-2.0
 *
 * Image locks with QEMU's bytes. See lock.h.
 *
 * Each kind of use has a number and two bytes of the file, even past its end. A user holds shared
 * locks (F_RDLCK) on the "does" bytes of its own uses and on the "bars" bytes of the uses that it
 * excludes:
 *
 *     number  use                 does           bars                      reader     writer
 *     0       consistent reading  100            200                       100        100
 *     1       writing             101            201                       201        101 201
 *     3       resizing            103            203                       203        103 203
 *
 * (2, writing unchanged data, and 4, changing the graph, are not used here.) Shared locks never
 * conflict; a user tests whether another one holds the opposite byte of each of its own. It locks
 * first and tests then: of two that start at once each sees the other, and at worst both fail.
 * QEMU's file driver has done the same since 2.10 (block/file-posix.c).
 *
 * Raw images are locked too, although QEMU allows a raw image to be written under its readers.
 */
#include "block/image/lock.h"

#include "base/log.h"
#include "block/image/lock-owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BYTE_DOES = 100, BYTE_BARS = 200 };
enum { USE_READ = 0, USE_WRITE = 1, USE_RESIZE = 3, USE_COUNT = 5 };

/* The bytes of each user; a 0 ends the list. "Bars" comes first, so that another writer is reported
 * as one. */
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

/* Whether another description holds one of them: 1 or 0, or -errno. */
static int bytes_are_held(int fd, short first, short count)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = count};
    return fcntl(fd, F_OFD_GETLK, &lock) != 0 ? -errno : lock.l_type != F_UNLCK;
}

/* The same for any that a use has. */
static int any_is_held(int fd)
{
    int held = bytes_are_held(fd, BYTE_DOES, USE_COUNT);
    return held != 0 ? held : bytes_are_held(fd, BYTE_BARS, USE_COUNT);
}

/* The opposite byte: "bars" of a "does" and "does" of a "bars". */
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

static int conflict(int fd, const char *path, short held, struct err *err)
{
    const char *doing = "has it for itself";
    if (held == BYTE_DOES + USE_WRITE || held == BYTE_DOES + USE_RESIZE)
        doing = "has it open for writing";
    else if (held == BYTE_BARS + USE_WRITE || held == BYTE_BARS + USE_RESIZE)
        doing = "has it open and lets nobody else write to it";
    else if (held == BYTE_BARS + USE_READ)
        doing = "lets nobody else read it";
    char owner[64] = "";
    bool is_known = lock_owner_find(fd, owner, sizeof(owner));
    err_set(err, ErrOpenFileFailed, 0,
            "image '%s' is locked by another process%s%s, which %s; it must be closed there first",
            path, is_known ? ", " : "", owner, doing);
    err->errnum = EAGAIN; /* without its text: the other process may close the image */
    return -1;
}

int image_lock(int fd, const char *path, bool read_only, bool *is_held, struct err *err)
{
    const short *bytes = read_only ? reader_bytes : writer_bytes;
    int ret = bytes_take(fd, bytes);
    if (is_held_by_others(ret))
        return conflict(fd, path, 0, err);
    bool is_alone = ret == 0 && any_is_held(fd) == 0;
    /* Where locking is unsupported, testing often works. */
    for (int held = 0; !is_alone && *bytes && (ret == 0 || is_unsupported(ret)); bytes++) {
        held = bytes_are_held(fd, byte_against(*bytes), 1);
        if (held > 0)
            return conflict(fd, path, byte_against(*bytes), err);
        if (held < 0 && ret == 0)
            ret = held;
    }
    if (ret != 0 && !is_unsupported(ret))
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be locked", path);
    *is_held = ret == 0;
    if (ret != 0)
        log_warning("image '%s' is used without a lock, so other programs may write to it: %s",
                    path, strerror(-ret));
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

bool image_is_locked(int fd)
{
    return any_is_held(fd) > 0;
}

void image_unlock(int fd)
{
    for (const short *byte = writer_bytes; *byte; byte++)
        byte_set(fd, F_UNLCK, *byte); /* else when the description goes */
}
