/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `images`: the trees of image files. See store.h for the rules of queries.
 *
 * Rows are written in the transaction that makes the thing: those of a device's chain with its row
 * (devices.h), those of overlays with their group's (groups.h). An overlay's row goes again with
 * `aborted`; the top of a device that is detached is kept until it is attached again.
 *
 *   role       of a new row                                      of a row that is there
 *   given      under an attached top, or a top that is read only  stays
 *   attached   a top that may be written                          given becomes attached
 *   made       an overlay, by its group; a clone, by its device   is replaced: the path was free
 *
 * A row whose identity is another one is that of a former file, and is replaced.
 */
#ifndef STORE_IMAGES_H
#define STORE_IMAGES_H

#include "base/err.h"
#include "store/row.h"

#include <stddef.h>

struct store;
struct store_transaction;

void image_row_clear(struct image_row *row);
void image_rows_free(struct image_row *rows, size_t count);

/* 1: *row; 0: there is none; -1: *err. */
int store_image_get(struct store *store, const char *path, struct image_row *row, struct err *err);

/* Whether an image that is recorded at that path may not be replaced by another one: something
 * stands on it, a device has it as its top, or a group has frozen it. 1; 0; -1: *err. */
int store_image_is_needed(struct store *store, const char *path, struct err *err);

/* The image and all that is recorded to be under it, top to base. *rows is heap; free with
 * image_rows_free, like those of the next ones. */
int store_image_chain(struct store *store, const char *path, struct image_row **rows, size_t *count,
                      struct err *err);

/* All images of the tree that the image is in, with `group_name` and `device`: whichever of them is
 * found first. Each after the one under it. The first is not complete also if it is not known what
 * is under a device of another tree: it might be one of these. */
int store_image_tree(struct store *store, const char *path, struct image_row **rows, size_t *count,
                     struct err *err);

/* Up to `limit` images that are not complete, with paths after `after` (NULL: from the first), by
 * path. */
int store_image_list_incomplete(struct store *store, const char *after, size_t limit,
                                struct image_row **rows, size_t *count, struct err *err);

/* The file of an image does not exist any more: its row goes, unless a group names it or another
 * image stands on it; then it is no child of any image from now on. That of a device's top, of one
 * that is to be, or of a merge that has begun stays as it is. */
int store_image_forget(struct store_transaction *transaction, const char *path, struct err *err);

/* Records the chain of an image that no device has open, top to base: path, identity and format of
 * each. `path` is where the image is recorded now: it may turn out to be a link. */
int store_image_record_chain(struct store_transaction *transaction, const char *path,
                             const struct image_row *chain, size_t count, struct err *err);

#endif
