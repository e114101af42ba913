/* SPDX-License-Identifier: Apache-2.0
 *
 * Clones: implements clone.h. The image is made as a group makes an overlay (member.c): staged,
 * written, given the permissions of the image under it, synced, published; then its directory is
 * synced, once.
 */
#include "block/clone.h"
#include "block/overlay.h"

#include "block/device/opener.h"
#include "block/group.h"
#include "block/image/access.h"
#include "block/image/drivers.h"
#include "block/image/stage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct clone {
    struct block *block;
    struct node *base; /* a reference: the frozen image, open read-only */
};

/* ---- the frozen image ---- */

/* Chains that can be made are no longer than those that can be opened. */
static int base_check_length(const struct node *base, struct err *err)
{
    size_t images = 0;
    for (const struct node *node = base; node; node = node->backing)
        images++;
    return images < CHAIN_NODES_MAX
               ? 0
               : err_set(err, ErrOpenFileFailed, EMLINK,
                         "frozen image '%s' has %zu images in its chain already, and no more can "
                         "be opened",
                         base->path, images);
}

/* As a member's export opens it (exports.c). */
static struct node *base_open(struct block *block, const struct clone_base *base, struct err *err)
{
    CLEANUP_FREE char *user = NULL;
    if (asprintf(&user, "a clone of '%s'", base->export) < 0) {
        user = NULL;
        err_set(err, ErrOutOfResources, ENOMEM, "'%s' cannot be cloned", base->export);
        return NULL;
    }
    struct opener opener = {block, user, .terms.is_restored = true, .identity = base->identity};
    struct chain_guard guard = {.admit = opener_admit, .arg = &opener};
    READERS_GUARD(&block->walkers);
    return chain_open(&block->dir, base->image, base->format, true, &guard, err);
}

static int base_check(struct block *block, const struct node *base, struct err *err)
{
    if (!file_table_is_frozen(block->files, &base->identity, base->path))
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' is not protected as a frozen image: restart the daemon with its "
                       "storage there",
                       base->path);
    /* The new image names it by path. */
    return opener_check_in_place(base, err) != 0 ? -1 : base_check_length(base, err);
}

struct clone *clone_begin(struct block *block, const struct clone_base *base, struct err *err)
{
    CLEANUP(clone) struct clone *clone = calloc(1, sizeof(*clone));
    if (!clone) {
        err_set(err, ErrOutOfResources, ENOMEM, "'%s' cannot be cloned", base->export);
        return NULL;
    }
    clone->block = block;
    clone->base = base_open(block, base, err);
    return clone->base && base_check(block, clone->base, err) == 0 ? steal(clone) : NULL;
}

void clone_free(struct clone *clone)
{
    if (clone->base)
        node_unref(clone->base);
    free(clone);
}

/* ---- the image ---- */

static const struct driver *clone_driver(const struct clone_image *image, struct err *err)
{
    const struct driver *driver = driver_find(image->format);
    if (driver && driver->supports_backing && driver->create)
        return driver;
    err_set(err, ErrInvalidBlockFormat, 0,
            "an image of format '%s' cannot be a clone: it records no backing file, use qcow2",
            image->format);
    return NULL;
}

static int clone_write(const struct clone *clone, int fd, const struct image_place *place,
                       const struct driver *driver, const struct image_spec *spec, struct err *err)
{
    struct err cause;
    if (driver->create(fd, spec, &cause) != 0) {
        err_set(err, cause.code, 0, "image '%s' cannot be created: %s", place->path, cause.message);
        err->errnum = cause.errnum;
        return -1;
    }
    if (access_copy(fd, clone->base->fd, place->path, err) != 0)
        return -1;
    return fsync(fd) == 0 ? 0
                          : err_set(err, ErrOpenFileFailed, errno,
                                    "image '%s' cannot be made durable", place->path);
}

/* Its header names it: there is nothing to keep later. */
static int clone_publish(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                         struct err *err)
{
    if (stage_publish(place, id, true, err) != 0 || stage_keep(place, id, err) != 0)
        return -1;
    return fsync(place->dirfd) == 0 ? 0
                                    : err_set(err, ErrOpenFileFailed, errno,
                                              "image '%s' cannot be made durable", place->path);
}

static int clone_make(const struct clone *clone, const struct clone_image *image,
                      const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                      struct err *err)
{
    const struct node *base = clone->base;
    const struct driver *driver = clone_driver(image, err);
    CLEANUP_FREE char *backing =
        driver ? image_backing_name(place, node_used_path(base), err) : NULL;
    if (!backing)
        return -1;
    struct cluster_shape shape = driver_overlay_shape(image->shape, base->size_bytes);
    const struct image_spec spec = {.size_bytes = base->size_bytes,
                                    .cluster_bytes = shape.cluster_bytes,
                                    .extended_l2 = shape.extended_l2,
                                    .backing_file = backing,
                                    .backing_format = base->driver->name,
                                    .group_id = id};
    CLEANUP_CLOSE int fd = stage_create(place, id, err);
    return fd >= 0 && clone_write(clone, fd, place, driver, &spec, err) == 0
               ? clone_publish(place, id, err)
               : -1;
}

int clone_create(struct clone *clone, const struct clone_image *image,
                 const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    struct err ignored;
    struct block *block = clone->block;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (image_place_open(&block->dir, image->path, &place, err) != 0)
        return -1;
    if (clone_make(clone, image, &place, id, err) == 0)
        return 0;
    block_overlay_discard(block, place.path, NULL, image->format, id, &ignored);
    return -1;
}
