/* SPDX-License-Identifier: Apache-2.0
 *
 * See stage.h.
 */
#include "block/image/stage.h"

#include "base/hash-table.h"
#include "base/log.h"
#include "block/image/file-io.h"
#include "block/image/identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uuid/uuid.h>

#define STAGE_NAME_BYTES 80

static void stage_name_with(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                            const char *suffix, char name[STAGE_NAME_BYTES])
{
    char text[UUID_STR_LEN];
    uuid_unparse_lower(id, text);
    snprintf(name, STAGE_NAME_BYTES, ".snapgroupd-%s-%016llx.%s", text,
             (unsigned long long)hash_bytes(HASH_START, place->name, strlen(place->name)), suffix);
}

static void stage_name(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                       char name[STAGE_NAME_BYTES])
{
    stage_name_with(place, id, "tmp", name);
}

static void mark_name(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                      char name[STAGE_NAME_BYTES])
{
    stage_name_with(place, id, "mark", name);
}

int stage_create(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                 struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    int fd = openat(place->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be created", place->path);
    return fd;
}

int stage_open(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
               struct err *err)
{
    char name[STAGE_NAME_BYTES];
    stage_name(place, id, name);
    int fd = openat(place->dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be continued",
                       place->path);
    return fd;
}

static int place_unlink(const struct image_place *place, const char *name, struct err *err)
{
    if (unlinkat(place->dirfd, name, 0) != 0 && errno != ENOENT)
        return err_set(err, ErrOpenFileFailed, errno, "'%s' beside '%s' cannot be removed", name,
                       place->path);
    return 0;
}

/* The identity of the file of that name in the directory. 0 or -errno. */
static int place_identity(const struct image_place *place, const char *name,
                          struct identity *identity)
{
    CLEANUP_CLOSE int fd =
        openat(place->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 ? -errno : identity_of(fd, identity);
}

/* ---- the mark ---- */

/* 0 or -errno. */
static int mark_write(const struct image_place *place, const char *name,
                      const struct identity *identity)
{
    CLEANUP_CLOSE int fd =
        openat(place->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int ret = file_write(fd, identity->text, 0, sizeof(identity->text));
    if (ret == 0 && (fsync(fd) != 0 || fsync(place->dirfd) != 0))
        ret = -errno;
    return ret;
}

/* Of the file that is staged; durable. */
static int mark_create(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                       struct err *err)
{
    char first[STAGE_NAME_BYTES], mark[STAGE_NAME_BYTES];
    struct identity identity;
    struct err ignored;
    stage_name(place, id, first);
    mark_name(place, id, mark);
    int ret = place_identity(place, first, &identity);
    if (ret == 0)
        ret = mark_write(place, mark, &identity);
    if (ret == 0)
        return 0;
    place_unlink(place, mark, &ignored);
    return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be created", place->path);
}

/* What a mark says; a mark that is not whole was never followed by a rename and says "". 0 or
 * -errno. */
static int mark_read(const struct image_place *place, const char *name, struct identity *identity)
{
    *identity = (struct identity){.is_lasting = false};
    CLEANUP_CLOSE int fd =
        openat(place->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int ret = file_read_padded(fd, identity->text, 0, sizeof(identity->text));
    if (identity->text[sizeof(identity->text) - 1])
        *identity->text = 0;
    return ret;
}

/* There is no first name: the real name goes if the mark says that it is ours, then the mark. */
static int mark_discard(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                        struct err *err)
{
    char mark[STAGE_NAME_BYTES];
    struct identity made, real = {.text = ""};
    mark_name(place, id, mark);
    int ret = mark_read(place, mark, &made);
    if (ret == -ENOENT)
        return 0;
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "'%s' beside '%s' cannot be read", mark,
                       place->path);
    ret = place_identity(place, place->name, &real);
    if (ret && ret != -ENOENT && ret != -ELOOP)
        return err_set(err, ErrOpenFileFailed, -ret, "'%s' cannot be examined", place->path);
    bool is_there = ret == 0;
    made.is_lasting = real.is_lasting; /* of one file system */
    if (is_there && identity_is_alike(&made, &real)) {
        if (place_unlink(place, place->name, err) != 0)
            return -1;
        if (fsync(place->dirfd) != 0)
            return err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable",
                           place->path);
    } else if (is_there)
        log_warning("'%s' is another file than the one that was created there, and is kept",
                    place->path);
    return place_unlink(place, mark, err);
}

/* ---- the real name ---- */

/* Without links, by renaming. */
static int stage_rename(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                        bool names_owner, struct err *err)
{
    char first[STAGE_NAME_BYTES], mark[STAGE_NAME_BYTES];
    struct err ignored;
    stage_name(place, id, first);
    mark_name(place, id, mark);
    if (!names_owner && mark_create(place, id, err) != 0)
        return -1;
    if (renameat2(place->dirfd, first, place->dirfd, place->name, RENAME_NOREPLACE) == 0)
        return 0;
    bool is_missing_too = errno == EINVAL || errno == ENOSYS;
    err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be created%s", place->path,
            is_missing_too ? ": its file system has neither hard links nor RENAME_NOREPLACE" : "");
    if (!names_owner)
        place_unlink(place, mark, &ignored);
    return -1;
}

/* Whether it could be because of the file system, or of what it lets this user do, that link(2)
 * failed. */
static bool links_are_missing(int error)
{
    return error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK;
}

/* 1: it has both names; 0: only the real one, and a mark unless `names_owner`; -1: *err. */
static int stage_name_really(const struct image_place *place,
                             const unsigned char id[OWNER_ID_BYTES], bool names_owner,
                             struct err *err)
{
    char first[STAGE_NAME_BYTES];
    stage_name(place, id, first);
    if (linkat(place->dirfd, first, place->dirfd, place->name, 0) == 0)
        return 1;
    if (links_are_missing(errno))
        return stage_rename(place, id, names_owner, err);
    return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be created", place->path);
}

int stage_publish(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  struct err *err)
{
    return stage_name_really(place, id, false, err) < 0 ? -1 : 0;
}

int stage_publish_kept(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                       struct err *err)
{
    char first[STAGE_NAME_BYTES];
    stage_name(place, id, first);
    int ret = stage_name_really(place, id, true, err);
    return ret > 0 ? place_unlink(place, first, err) : ret;
}

int stage_keep(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
               struct err *err)
{
    char first[STAGE_NAME_BYTES], mark[STAGE_NAME_BYTES];
    stage_name(place, id, first);
    mark_name(place, id, mark);
    return place_unlink(place, mark, err) != 0 ? -1 : place_unlink(place, first, err);
}

/* Whether the file has its first name; if so, whether it has the real one, too. 0 or -errno. */
static int stage_look(const struct image_place *place, const char *name, bool *is_staged,
                      bool *is_published)
{
    struct stat first, real;
    *is_staged = fstatat(place->dirfd, name, &first, AT_SYMLINK_NOFOLLOW) == 0;
    *is_published = *is_staged &&
                    fstatat(place->dirfd, place->name, &real, AT_SYMLINK_NOFOLLOW) == 0 &&
                    real.st_dev == first.st_dev && real.st_ino == first.st_ino;
    return *is_staged || errno == ENOENT ? 0 : -errno;
}

int stage_publish_durably(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err)
{
    char first[STAGE_NAME_BYTES], mark[STAGE_NAME_BYTES];
    bool is_staged, is_published;
    stage_name(place, id, first);
    mark_name(place, id, mark);
    int ret = stage_look(place, first, &is_staged, &is_published);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "'%s' beside '%s' cannot be examined", first,
                       place->path);
    /* A mark beside a first name is from before a rename. */
    if (is_staged && !is_published &&
        (place_unlink(place, mark, err) != 0 || stage_publish(place, id, err) != 0))
        return -1;
    return fsync(place->dirfd) == 0 ? 0
                                    : err_set(err, ErrOpenFileFailed, errno,
                                              "image '%s' cannot be made durable", place->path);
}

static bool name_is_first(const char *name)
{
    static const char begin[] = ".snapgroupd-", end[] = ".tmp";
    size_t length = strlen(name);
    return length > sizeof(begin) + sizeof(end) && strncmp(name, begin, sizeof(begin) - 1) == 0 &&
           strcmp(name + length - (sizeof(end) - 1), end) == 0;
}

size_t stage_count_names(const struct image_place *place, const struct stat *file)
{
    size_t count = 0;
    CLEANUP_CLOSE int fd = openat(place->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory)
        return 0;
    fd = -1; /* the directory's */
    for (const struct dirent *entry; (entry = readdir(directory)) && count + 1 < file->st_nlink;) {
        struct stat st;
        count += name_is_first(entry->d_name) &&
                 fstatat(place->dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 st.st_dev == file->st_dev && st.st_ino == file->st_ino;
    }
    closedir(directory);
    return count;
}

bool stage_is_kept(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES])
{
    char first[STAGE_NAME_BYTES], mark[STAGE_NAME_BYTES];
    stage_name(place, id, first);
    mark_name(place, id, mark);
    return faccessat(place->dirfd, first, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT &&
           faccessat(place->dirfd, mark, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

int stage_discard(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                  struct err *err)
{
    char name[STAGE_NAME_BYTES];
    bool is_staged, is_published;
    stage_name(place, id, name);
    int ret = stage_look(place, name, &is_staged, &is_published);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "'%s' beside '%s' cannot be examined", name,
                       place->path);
    if (!is_staged)
        return mark_discard(place, id, err);
    if (is_published && place_unlink(place, place->name, err) != 0)
        return -1;
    return stage_keep(place, id, err);
}
