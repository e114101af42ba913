/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-lost-syncs: an fsync or fdatasync says that it was done, and was not.
 * LOST_SYNCS says which:
 *
 *     images       of image files
 *     barriers     every other one of an image file, so that order is lost now and durability then
 *     store        of the database
 *     directories  of the image directory
 *     jobs         of image files, by the thread that runs jobs
 *
 * The daemon made so is wrong on purpose: the power-loss rig must find it out.
 */
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DESCRIPTORS = 1024 };

static bool lies_in(int fd, const char *directory)
{
    char link[32], path[PATH_MAX] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, directory);
}

static bool is_job(void)
{
    char name[16] = "";
    return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 && strcmp(name, "jobs") == 0;
}

static bool is_lost(int fd)
{
    static atomic_uint calls[DESCRIPTORS];
    const char *lost = getenv("LOST_SYNCS");
    if (!lost)
        return false;
    if (strcmp(lost, "store") == 0)
        return lies_in(fd, "/state/");
    if (strcmp(lost, "directories") == 0)
        return lies_in(fd, "/images") && !lies_in(fd, "/images/");
    if (!lies_in(fd, "/images/"))
        return false;
    if (strcmp(lost, "jobs") == 0)
        return is_job();
    return strcmp(lost, "images") == 0 ||
           (fd < DESCRIPTORS && atomic_fetch_add(&calls[fd], 1) % 2 == 0);
}

int fdatasync(int fd)
{
    return is_lost(fd) ? 0 : (int)syscall(SYS_fdatasync, fd);
}

/* Without a ring the daemon calls fsync. */
int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    (void)entries, (void)ring, (void)flags;
    return -ENOSYS;
}

int fsync(int fd)
{
    return is_lost(fd) ? 0 : (int)syscall(SYS_fsync, fd);
}
