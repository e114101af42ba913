/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of drivers, and the whole-length file I/O they share. See driver.h.
 */
#include "block/driver.h"

#include <errno.h>
#include <string.h>
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
