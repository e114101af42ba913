/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of drivers, and the whole-length file I/O they share. See driver.h.
 */
#include "block/image/driver.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DRIVERS_MAX = 16 };
static const struct driver *drivers[DRIVERS_MAX] = {&driver_raw, &driver_qcow2};

const struct driver *driver_find(const char *name)
{
    for (size_t i = 0; i < DRIVERS_MAX && drivers[i]; i++)
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    return NULL;
}

struct cluster_shape driver_overlay_shape(struct cluster_shape wanted, uint64_t size_bytes)
{
    struct cluster_shape shape = wanted;
    if (!wanted.cluster_bytes)
        shape = (struct cluster_shape){OVERLAY_CLUSTER_BYTES, OVERLAY_EXTENDED_L2};
    for (size_t i = 0; i < DRIVERS_MAX && drivers[i]; i++)
        if (drivers[i]->supports_backing && drivers[i]->shape_fit)
            drivers[i]->shape_fit(&shape, size_bytes);
    return shape;
}

void driver_register(const struct driver *driver)
{
    for (size_t i = 0; i < DRIVERS_MAX; i++)
        if (!drivers[i] || strcmp(drivers[i]->name, driver->name) == 0) {
            drivers[i] = driver;
            return;
        }
}

int file_read(int fd, void *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0; done < length;) {
        ssize_t n = pread(fd, (char *)buf + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        done += (uint64_t)n;
    }
    return 0;
}

int file_write(int fd, const void *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        done += (uint64_t)n;
    }
    return 0;
}

int file_read_padded(int fd, void *buf, uint64_t offset, uint64_t length)
{
    uint64_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, (char *)buf + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    memset((char *)buf + done, 0, length - done);
    return 0;
}

int file_read_cached(int fd, void *buf, uint64_t offset, uint64_t length)
{
    struct iovec vector = {.iov_base = buf, .iov_len = length};
    ssize_t n = preadv2(fd, &vector, 1, (off_t)offset, RWF_NOWAIT);
    /* Short: a miss further on, or the end of the file. What cannot be told or done so waits. */
    return n == (ssize_t)length ? 0 : -EAGAIN;
}
