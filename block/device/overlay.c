/* SPDX-License-Identifier: Apache-2.0
 *
 * See overlay.h.
 */
#include "block/overlay.h"

#include "block/device/object.h"
#include "block/device/opener.h"
#include "block/image/drivers.h"
#include "block/image/file-table.h"
#include "block/image/lock.h"
#include "block/image/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Unlinks the overlay if its header says that `id` made it. */
static int overlay_unlink(const struct image_place *place, const struct driver *driver,
                          const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    CLEANUP_CLOSE int fd =
        openat(place->dirfd, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP
                   ? 0
                   : err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be opened",
                             place->path);
    unsigned char found[OWNER_ID_BYTES];
    int ret = driver->group_id(fd, found);
    if (ret && ret != -ENOENT)
        return err_set(err, ErrOpenFileFailed, -ret, "overlay '%s' cannot be read", place->path);
    if (ret == 0 && memcmp(found, id, OWNER_ID_BYTES) == 0 &&
        unlinkat(place->dirfd, place->name, 0) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be removed",
                       place->path);
    return 0;
}

int block_overlay_discard(struct block *block, const char *path, const char *directory,
                          const char *format, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    const struct driver *driver = driver_find(format);
    if (!driver || !driver->group_id)
        return 0; /* no overlay of this format can have been made */
    int found = image_place_find(&block->dir, path, directory, &place, err);
    if (found <= 0)
        return found;
    if (stage_discard(&place, id, err) != 0 || overlay_unlink(&place, driver, id, err) != 0)
        return -1;
    /* Also if there was nothing: who unlinked it may have been killed before this. */
    if (fsync(place.dirfd) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable", place.path);
    return 0;
}

int block_overlay_forget(struct block *block, const char *path, const char *format,
                         const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    const struct driver *driver = driver_find(format);
    unsigned char found[OWNER_ID_BYTES];
    CLEANUP_FREE char *canonical = NULL;
    struct err ignored;
    CLEANUP_CLOSE int fd = image_open(&block->dir, path, true, &canonical, &ignored);
    bool is_it = fd >= 0 && driver && driver->group_id && driver->group_id(fd, found) == 0 &&
                 memcmp(found, id, OWNER_ID_BYTES) == 0;
    return is_it ? journal_recovery_forget(block->journals, fd, canonical, err) : 0;
}

bool block_overlay_is_used(struct block *block, const char *path)
{
    struct err ignored;
    struct stat st;
    char user[USER_BYTES];
    bool is_writer;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (image_place_find(&block->dir, path, NULL, &place, &ignored) <= 0)
        return false;
    CLEANUP_CLOSE int fd =
        openat(place.dirfd, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 &&
           !file_table_user(block->files, st.st_dev, st.st_ino, user, sizeof(user), &is_writer) &&
           image_is_locked(fd);
}
