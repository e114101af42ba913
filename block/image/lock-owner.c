/* SPDX-License-Identifier: Apache-2.0
 *
 * See lock-owner.h. F_OFD_GETLK and /proc/locks have no process for a lock of an open file
 * description; /proc/PID/fdinfo/FD has a line for each lock of it:
 *
 *     lock:   1: OFDLCK  ADVISORY  READ -1 fe:01:1234 100 100
 *                                          device:inode, in hexadecimal and decimal
 *
 * These files are read without a look at what the descriptors lead to, which might not answer.
 */
#include "block/image/lock-owner.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { FILE_BYTES = 4096 };

static void directory_close(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

/* The beginning of a small file, as text; "" if it cannot be read. */
static void file_read(int directory, const char *name, char text[FILE_BYTES])
{
    CLEANUP_CLOSE int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd < 0 ? -1 : read(fd, text, FILE_BYTES - 1);
    text[bytes > 0 ? bytes : 0] = '\0';
}

/* Whether the process has such a lock; `file` is " DEVICE:INODE ". */
static bool process_has_lock(int process, const char *file)
{
    char text[FILE_BYTES];
    CLEANUP_CLOSE int fd = openat(process, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_BY(directory_close) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory)
        return false;
    steal_fd(&fd); /* the directory's now */
    for (const struct dirent *entry; (entry = readdir(directory));) {
        if (!isdigit((unsigned char)*entry->d_name))
            continue;
        file_read(dirfd(directory), entry->d_name, text);
        const char *lock = strstr(text, "\nlock:");
        if (lock && strstr(lock, file))
            return true;
    }
    return false;
}

bool lock_owner_find(int fd, char *text, size_t bytes)
{
    char file[64], name[FILE_BYTES];
    struct stat stat_;
    CLEANUP_BY(directory_close) DIR *processes = opendir("/proc");
    if (!processes || fstat(fd, &stat_) != 0)
        return false;
    snprintf(file, sizeof(file), " %02x:%02x:%ju ", major(stat_.st_dev), minor(stat_.st_dev),
             (uintmax_t)stat_.st_ino);
    for (const struct dirent *entry; (entry = readdir(processes));) {
        if (!isdigit((unsigned char)*entry->d_name) || atol(entry->d_name) == (long)getpid())
            continue;
        CLEANUP_CLOSE int process =
            openat(dirfd(processes), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (process < 0 || !process_has_lock(process, file))
            continue;
        file_read(process, "comm", name);
        snprintf(text, bytes, "%s (%.*s)", entry->d_name, (int)strcspn(name, "\n"), name);
        return true;
    }
    return false;
}
