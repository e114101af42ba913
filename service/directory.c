/* SPDX-License-Identifier: Apache-2.0
 *
 * See directory.h.
 */
#include "service/directory.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Syncs the directory that holds `path`, so that the new entry there survives power loss. */
static int parent_sync(const char *path, struct err *err)
{
    CLEANUP_FREE char *parent = NULL;
    if (asprintf(&parent, "%s/..", path) < 0)
        parent = NULL;
    CLEANUP_CLOSE int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || fsync(fd) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "cannot make directory '%s' durable", path);
    return 0;
}

/* Creates the directory `path` and its missing parents, accessible to the daemon's user only. */
static int directory_create(const char *path, struct err *err)
{
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for '%s'", path);
    for (char *end = copy; end;) {
        end = strchr(end + 1, '/');
        if (end)
            *end = '\0';
        if (mkdir(copy, 0700) == 0) {
            if (parent_sync(copy, err) != 0)
                return -1;
        } else if (errno != EEXIST) {
            return err_set(err, ErrOpenFileFailed, errno, "cannot make directory '%s'", path);
        }
        if (end)
            *end = '/';
    }
    return 0;
}

int directory_open(const char *name, bool create, char path[PATH_MAX], struct err *err)
{
    struct stat stat_;
    if (create && directory_create(name, err) != 0)
        return -1;
    if (!realpath(name, path) || stat(path, &stat_) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "cannot open directory '%s'", name);
    if (!S_ISDIR(stat_.st_mode))
        return err_set(err, ErrOpenFileFailed, ENOTDIR, "cannot open directory '%s'", name);
    return 0;
}

int directory_admit(const char *path, struct err *err)
{
    struct stat stat_;
    if (stat(path, &stat_) != 0 || chmod(path, (stat_.st_mode & 07777) | 0011) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "others cannot be admitted to '%s'", path);
    return 0;
}
