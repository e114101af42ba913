/* SPDX-License-Identifier: Apache-2.0
 *
 * Clones: a new image on top of a frozen one, for a device of its own.
 *
 *   clone_begin --> clone_place --> clone_create --> block_device_open --> clone_free
 *
 * The frozen image is held open from the first step to the last, so that the device finds it open.
 * It is never written. A thread has a clone to itself from begin to free; meanwhile a merge of that
 * image waits (merge_await_clones(), merge.h).
 */
#ifndef BLOCK_CLONE_H
#define BLOCK_CLONE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/types.h"

struct block;
struct clone;

/* The frozen image, as its group recorded it. */
struct clone_base {
    const char *image;    /* absolute */
    const char *identity; /* another file is refused; NULL: not known */
    const char *format;
    const char *export; /* DEVICE@GROUP, for messages */
};

/* The image to be created. */
struct clone_image {
    const char *path;
    const char *format;
    struct cluster_shape shape; /* fitted to the size, as an overlay's */
};

/* Opens the frozen image with all beneath it. NULL and *err as of block_device_open() for a device
 * that is read-only; DeviceInUse also if the image is not durable yet. */
struct clone *clone_begin(struct block *block, const struct clone_base *base, struct err *err);

/* Checks where the image is to go, as far as that is possible without making it; it must not exist.
 * Once. Codes: OpenFileFailed, InvalidBlockFormat, OutOfResources. */
int clone_place(struct clone *clone, const struct clone_image *image, struct err *err);

/* Creates the image, durable, with the size and the permissions of the frozen one, and `id` in its
 * header: block_overlay_discard() removes exactly this file, or nothing. Nothing is left behind on
 * failure. Codes: as above. */
int clone_create(struct clone *clone, const unsigned char id[OWNER_ID_BYTES], struct err *err);

void clone_free(struct clone *clone);
CLEANUP_DEFINE(clone, struct clone *, clone_free)

#endif
