/* SPDX-License-Identifier: Apache-2.0
 *
 * Which file the database is. A file of that name may be another one, or none: moved away,
 * restored, of another daemon, of another file system that is mounted there. Whoever took it for
 * the database would serve frozen images for writing. So three things are compared:
 *
 *     PATH.id            the random id of the database (store_meta), written once it exists
 *     application_id     is ours, or the file is empty
 *     st_dev, st_ino     as long as this process runs: at each use of the store, and when it is
 *                        opened again
 *
 *     PATH      PATH.id     at the start
 *     missing   missing     a new database, then its id
 *     missing   there       refused
 *     there     missing     of a daemon that wrote none, or was killed before: the id is written
 *     there     there       refused unless they agree
 */
#include "store/database-file.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define ID_CHARS 32

void database_file_prepare_directory(const struct database_file *file)
{
    CLEANUP_FREE char *copy = strdup(file->path);
    CLEANUP_CLOSE int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    struct statfs fs;
    int flags;
    if (fd < 0 || fstatfs(fd, &fs) != 0 || fs.f_type != BTRFS_SUPER_MAGIC ||
        ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || flags & FS_NOCOW_FL)
        return;
    flags |= FS_NOCOW_FL;
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags) != 0)
        log_warning("the directory of '%s' keeps copying what is overwritten: %s", file->path,
                    strerror(errno));
}

static char *id_path(const struct database_file *file, struct err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s.id", file->path) < 0)
        store_out_of_memory(err);
    return path;
}

/* 1: read, 0: there is none, -1: *err. */
static int id_read(const char *path, char id[ID_CHARS + 1], struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(err, ErrStoreFailed, errno, "'%s' cannot be read", path);
    ssize_t length = read(fd, id, ID_CHARS);
    if (length < 0)
        return err_set(err, ErrStoreFailed, errno, "'%s' cannot be read", path);
    id[length] = 0;
    if (length != ID_CHARS || strspn(id, "0123456789abcdef") != ID_CHARS)
        return err_set(err, ErrStoreFailed, 0, "'%s' does not hold the id of a database", path);
    return 1;
}

/* Durable but for the directory, which the caller syncs; whole or not there. */
static int id_write(const char *path, const char *id, struct err *err)
{
    CLEANUP_FREE char *made = NULL;
    if (asprintf(&made, "%s.tmp", path) < 0) {
        made = NULL;
        return store_out_of_memory(err);
    }
    CLEANUP_CLOSE int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, id, ID_CHARS) != ID_CHARS || fsync(fd) != 0 || rename(made, path) != 0)
        return err_set(err, ErrStoreFailed, errno, "'%s' cannot be written", path);
    return 0;
}

int database_file_may_be_created(const struct database_file *file, bool *may_be, struct err *err)
{
    struct stat st;
    char id[ID_CHARS + 1];
    *may_be = false;
    if (stat(file->path, &st) == 0)
        return 0;
    if (errno != ENOENT)
        return err_set(err, ErrStoreFailed, errno, "database '%s' cannot be examined", file->path);
    CLEANUP_FREE char *path = id_path(file, err);
    int found = path ? id_read(path, id, err) : -1;
    if (found > 0)
        return err_set(err, ErrStoreFailed, 0,
                       "database '%s' is missing, though '%s' says that there was one; put it "
                       "back, or remove that file to begin with an empty one",
                       file->path, path);
    *may_be = found == 0;
    return found;
}

int database_file_check_application(struct connection *connection, int application_id,
                                    struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_begin(connection,
                        "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM "
                        "pragma_application_id",
                        err);
    if (!statement)
        return -1;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return connection_fail(connection, err);
    bool is_empty = sqlite3_column_int(statement, 1) == 0;
    if (sqlite3_column_int(statement, 0) == application_id || is_empty)
        return 0;
    return err_set(err, ErrStoreFailed, 0, "'%s' is a database, but not of snapgroupd",
                   connection->path);
}

/* The id in the database, once it has one (schema 3): 1, 0 or -1. */
static int id_stored(struct connection *connection, char id[ID_CHARS + 1], struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(connection, "PRAGMA user_version", err);
    if (!statement)
        return -1;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return connection_fail(connection, err);
    if (sqlite3_column_int(statement, 0) < 3)
        return 0;
    CLEANUP(statement)
    sqlite3_stmt *select = statement_begin(connection, "SELECT id FROM store_meta", err);
    if (!select)
        return -1;
    if (sqlite3_step(select) != SQLITE_ROW || sqlite3_column_bytes(select, 0) != ID_CHARS)
        return err_set(err, ErrStoreFailed, 0, "database '%s' has lost its id", connection->path);
    memcpy(id, sqlite3_column_text(select, 0), ID_CHARS);
    id[ID_CHARS] = 0;
    return 1;
}

int database_file_check_id(const struct database_file *file, struct connection *connection,
                           struct err *err)
{
    char wanted[ID_CHARS + 1], found[ID_CHARS + 1] = "none";
    CLEANUP_FREE char *path = id_path(file, err);
    int is_there = path ? id_read(path, wanted, err) : -1;
    if (is_there <= 0)
        return is_there;
    if (id_stored(connection, found, err) < 0)
        return -1;
    if (strcmp(wanted, found) == 0)
        return 0;
    return err_set(err, ErrStoreFailed, 0,
                   "database '%s' is another one (id %s) than '%s' says (%s); put the right one "
                   "back, or remove that file to go on with this one",
                   file->path, found, path, wanted);
}

int database_file_record_id(struct database_file *file, struct connection *connection,
                            struct err *err)
{
    char id[ID_CHARS + 1];
    struct stat st;
    CLEANUP_FREE char *path = id_path(file, err);
    if (!path)
        return -1;
    if (stat(file->path, &st) != 0)
        return err_set(err, ErrStoreFailed, errno, "database '%s' cannot be examined", file->path);
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    int is_there = id_read(path, id, err);
    if (is_there != 0)
        return is_there < 0 ? -1 : 0;
    if (id_stored(connection, id, err) <= 0)
        return -1;
    return id_write(path, id, err);
}

int database_file_check_place(const struct database_file *file, struct err *err)
{
    struct stat st;
    if (stat(file->path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
        return 0;
    return err_set(err, ErrStoreFailed, 0,
                   "database '%s' is not the file that was open; put that back, or restart the "
                   "daemon",
                   file->path);
}
