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

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct clone {
    struct block *block;
    struct child child; /* of base: merges of that wait for it */
    struct node *base;  /* a reference: the frozen image, open read-only */
    /* From clone_place() on: */
    struct image_place place;
    const struct driver *driver;
    struct cluster_shape shape;
    char *backing_name; /* as the header is to have it */
};

/* ---- the frozen image ---- */

/* Chains that can be made are no longer than those that can be opened. */
static int base_check_length(const struct held_chain *base, struct err *err)
{
    return base->count < CHAIN_NODES_MAX
               ? 0
               : err_set(err, ErrOpenFileFailed, EMLINK,
                         "frozen image '%s' has %zu images in its chain already, and no more can "
                         "be opened",
                         base->nodes[0]->path, base->count);
}

static int base_check(struct block *block, struct node *base, struct err *err)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0};
    if (!file_table_is_frozen(block->files, &base->identity, base->path))
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' is not protected as a frozen image: restart the daemon with its "
                       "storage there",
                       base->path);
    if (held_chain_begin(block, base, &chain) != 0)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be cloned", base->path);
    /* The new image names it by path. */
    return opener_check_in_place(&chain, err) != 0 ? -1 : base_check_length(&chain, err);
}

/* As a member's export opens it (exports.c). From then on merges of the image wait. */
static int clone_open_base(struct clone *clone, const struct clone_base *base, struct err *err)
{
    struct block *block = clone->block;
    CLEANUP_OPENING struct opening opening = OPENING_OF(block);
    clone->base = opener_open_image(&opening, base->image, base->format, base->identity, err);
    if (!clone->base)
        return -1;
    child_begin(&block->openings, &clone->child, clone->base);
    return 0;
}

struct clone *clone_begin(struct block *block, const struct clone_base *base, struct err *err)
{
    CLEANUP(clone) struct clone *clone = calloc(1, sizeof(*clone));
    if (!clone) {
        err_set(err, ErrOutOfResources, ENOMEM, "'%s' cannot be cloned", base->export);
        return NULL;
    }
    clone->block = block;
    clone->place = (struct image_place)IMAGE_PLACE_INIT;
    return clone_open_base(clone, base, err) == 0 && base_check(block, clone->base, err) == 0
               ? steal(clone)
               : NULL;
}

void clone_free(struct clone *clone)
{
    child_end(&clone->child);
    if (clone->base)
        node_unref(clone->base);
    image_place_close(&clone->place);
    free(clone->backing_name);
    free(clone);
}

/* ---- the image ---- */

static const struct driver *clone_driver(const char *format, struct err *err)
{
    const struct driver *driver = driver_find(format);
    if (driver && driver->supports_backing && driver->create)
        return driver;
    err_set(err, ErrInvalidBlockFormat, 0,
            "an image of format '%s' cannot be a clone: it records no backing file, use qcow2",
            format);
    return NULL;
}

int clone_place(struct clone *clone, const struct clone_image *image, struct err *err)
{
    assert(!clone->driver);
    clone->shape = driver_overlay_shape(image->shape, clone->base->size_bytes);
    clone->driver = clone_driver(image->format, err);
    if (!clone->driver ||
        image_place_open(&clone->block->dir, image->path, &clone->place, err) != 0)
        return -1;
    clone->backing_name = image_backing_name(&clone->place, node_used_path(clone->base), err);
    return clone->backing_name ? image_place_check_free(&clone->place, err) : -1;
}

static int clone_write(const struct clone *clone, int fd, const unsigned char id[OWNER_ID_BYTES],
                       struct err *err)
{
    const char *path = clone->place.path;
    const struct image_spec spec = {.size_bytes = clone->base->size_bytes,
                                    .cluster_bytes = clone->shape.cluster_bytes,
                                    .extended_l2 = clone->shape.extended_l2,
                                    .backing_file = clone->backing_name,
                                    .backing_format = clone->base->driver->name,
                                    .group_id = id};
    struct err cause;
    if (clone->driver->create(fd, &spec, &cause) != 0) {
        err_set(err, cause.code, 0, "image '%s' cannot be created: %s", path, cause.message);
        err->errnum = cause.errnum;
        return -1;
    }
    if (access_copy(fd, clone->base->fd, path, err) != 0)
        return -1;
    return fsync(fd) == 0
               ? 0
               : err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be made durable", path);
}

/* Its header names it: there is nothing to keep later. */
static int clone_publish(const struct image_place *place, const unsigned char id[OWNER_ID_BYTES],
                         struct err *err)
{
    if (stage_publish_kept(place, id, err) != 0)
        return -1;
    return fsync(place->dirfd) == 0 ? 0
                                    : err_set(err, ErrOpenFileFailed, errno,
                                              "image '%s' cannot be made durable", place->path);
}

static int clone_make(const struct clone *clone, const unsigned char id[OWNER_ID_BYTES],
                      struct err *err)
{
    CLEANUP_CLOSE int fd = stage_create(&clone->place, id, err);
    return fd >= 0 && clone_write(clone, fd, id, err) == 0 ? clone_publish(&clone->place, id, err)
                                                           : -1;
}

int clone_create(struct clone *clone, const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    struct err ignored;
    assert(clone->backing_name);
    if (clone_make(clone, id, err) == 0)
        return 0;
    block_overlay_discard(clone->block, clone->place.path, NULL, clone->driver->name, id, &ignored);
    return -1;
}
