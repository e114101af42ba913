/* SPDX-License-Identifier: Apache-2.0
 *
 * See file-io.h.
 */
#include "block/image/file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

int file_reopen(int fd, int flags)
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return open(link, flags | O_CLOEXEC);
}

/* How much there was before the end of the file, or -errno. */
static int64_t file_read_some(int fd, void *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0; done < length;) {
        ssize_t n = pread(fd, (char *)buf + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : (int64_t)done;
        done += (uint64_t)n;
    }
    return (int64_t)length;
}

int file_read(int fd, void *buf, uint64_t offset, uint64_t length)
{
    int64_t done = file_read_some(fd, buf, offset, length);
    if (done < 0)
        return (int)done;
    return (uint64_t)done == length ? 0 : -EIO;
}

/* *done: how much was written, also on failure. */
static int file_write_some(int fd, const void *buf, uint64_t offset, uint64_t length,
                           uint64_t *done)
{
    for (*done = 0; *done < length;) {
        ssize_t n = pwrite(fd, (const char *)buf + *done, length - *done, (off_t)(offset + *done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        *done += (uint64_t)n;
    }
    return 0;
}

int file_write(int fd, const void *buf, uint64_t offset, uint64_t length)
{
    uint64_t done;
    return file_write_some(fd, buf, offset, length, &done);
}

int file_write_direct(int fd, int direct_fd, const void *buf, uint64_t offset, uint64_t length)
{
    const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t done = 0;
    int ret = -EINVAL;
    /* Whole pages: a part of one would meet the rest of it, which is in the page cache. */
    if (((offset | length | (uintptr_t)buf) & (page_bytes - 1)) == 0)
        ret = file_write_some(direct_fd, buf, offset, length, &done);
    return ret == -EINVAL || ret == -EOPNOTSUPP
               ? file_write(fd, (const char *)buf + done, offset + done, length - done)
               : ret;
}

int file_read_padded(int fd, void *buf, uint64_t offset, uint64_t length)
{
    int64_t done = file_read_some(fd, buf, offset, length);
    if (done < 0)
        return (int)done;
    memset((char *)buf + done, 0, length - (uint64_t)done);
    return 0;
}

int file_read_cached(int fd, void *buf, uint64_t offset, uint64_t length)
{
    struct iovec vector = {.iov_base = buf, .iov_len = length};
    ssize_t n = preadv2(fd, &vector, 1, (off_t)offset, RWF_NOWAIT);
    /* Short: a miss further on, or the end of the file. Errors are left to the read that waits. */
    return n == (ssize_t)length ? 0 : -EAGAIN;
}
