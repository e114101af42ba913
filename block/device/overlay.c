/* SPDX-License-Identifier: Apache-2.0
 *
 * See overlay.h.
 */
#include "block/overlay.h"

#include "block/device/object.h"
#include "block/image/drivers.h"
#include "block/image/file-table.h"
#include "block/image/journal-recovery.h"
#include "block/image/lock.h"
#include "block/image/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- whether it is as it was made ---- */

/* Data or zeros of its own, in its tables. */
static int node_has_changes(struct node *node, bool *has)
{
    int ret = 0;
    *has = false;
    for (uint64_t at = 0; at < node->size_bytes && ret == 0 && !*has;) {
        struct extent extent = {.length = node->size_bytes - at};
        ret = node->driver->map(node, at, MAP_HOLES, &extent);
        *has = ret == 0 && extent.kind != EXTENT_BACKING;
        at += extent.length;
    }
    return ret;
}

static int overlay_check_unused(struct block *block, int fd, const struct image_place *place,
                                const struct driver *driver, struct err *err)
{
    bool has_changes;
    if (journal_recovery_check(block->journals, fd, place->path, err) != 0)
        return -1;
    CLEANUP_CLOSE int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be opened", place->path);
    CLEANUP(node) struct node *node = node_open(own, place->path, driver, true, NULL, err);
    if (!node)
        return -1;
    steal_fd(&own);
    int ret = node_has_changes(node, &has_changes);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "overlay '%s' cannot be read", place->path);
    return has_changes ? err_set(err, ErrUnflushedData, 0,
                                 "overlay '%s' was to be removed, as one that was never used, but "
                                 "it has data: was an older database restored?",
                                 place->path)
                       : 0;
}

/* ---- removing ---- */

/* Unlinks the overlay if its header says that `id` made it. */
static int overlay_unlink(struct block *block, const struct image_place *place,
                          const struct driver *driver, const unsigned char id[OWNER_ID_BYTES],
                          bool must_be_unused, struct err *err)
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
    if (ret || memcmp(found, id, OWNER_ID_BYTES) != 0)
        return 0;
    if (must_be_unused && overlay_check_unused(block, fd, place, driver, err) != 0)
        return -1;
    if (unlinkat(place->dirfd, place->name, 0) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be removed",
                       place->path);
    return 0;
}

static int overlay_discard(struct block *block, const char *path, const char *directory,
                           const char *format, const unsigned char id[OWNER_ID_BYTES],
                           bool must_be_unused, struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    const struct driver *driver = driver_find(format);
    if (!driver || !driver->group_id)
        return 0; /* no overlay of this format can have been made */
    int found = image_place_find(&block->dir, path, directory, &place, err);
    if (found <= 0)
        return found;
    if (stage_discard(&place, id, err) != 0 ||
        overlay_unlink(block, &place, driver, id, must_be_unused, err) != 0)
        return -1;
    /* Also if there was nothing: who unlinked it may have been killed before this. */
    if (fsync(place.dirfd) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable", place.path);
    return 0;
}

int block_overlay_discard(struct block *block, const char *path, const char *directory,
                          const char *format, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err)
{
    return overlay_discard(block, path, directory, format, id, false, err);
}

int block_overlay_discard_known(struct block *block, const char *path, const char *identity,
                                const char *format, const unsigned char id[OWNER_ID_BYTES],
                                struct err *err)
{
    struct stat st;
    bool is_known = identity && *identity;
    const char *directory = is_known && stat(path, &st) != 0 ? identity : NULL;
    return overlay_discard(block, path, directory, format, id, false, err);
}

int block_overlay_discard_unused(struct block *block, const char *path, const char *directory,
                                 const char *format, const unsigned char id[OWNER_ID_BYTES],
                                 struct err *err)
{
    return overlay_discard(block, path, directory, format, id, true, err);
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

/* Asked by a description that has the image locked itself, the kernel tells of others' locks
 * only. */
static bool file_is_used_elsewhere(struct block *block, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    CLEANUP(node) struct node *node = file_table_only_node(block->files, st.st_dev, st.st_ino);
    if (node)
        return image_is_locked(node->fd);
    return !file_table_is_used(block->files, st.st_dev, st.st_ino) && image_is_locked(fd);
}

bool block_overlay_is_used(struct block *block, const char *path)
{
    struct err ignored;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (image_place_find(&block->dir, path, NULL, &place, &ignored) <= 0)
        return false;
    CLEANUP_CLOSE int fd =
        openat(place.dirfd, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && file_is_used_elsewhere(block, fd);
}
