/* SPDX-License-Identifier: Apache-2.0
 *
 * The file table: which files are in use, by whom, and which are frozen. It alone decides who may
 * open an image. Private to block/.
 *
 *     claimed     open, or about to be: by (st_dev, st_ino), whatever its name. Any number of
 *                 readers, or one writer
 *     frozen      part of what a group froze, open or not: by identity (identity.h), whatever its
 *                 name, after a restart too. No user ever opens it for writing again; what an
 *                 earlier daemon acknowledged before the cut may still have to be written to it,
 *                 and who has it open may thaw it (freeze.h)
 *
 * A file is claimed before anything of it is read, and released after its descriptor is closed. So
 * no lock is held while a file is opened, read or closed: of two opens that conflict the second is
 * refused at once, and opens of different files never wait. The table's own lock is held for
 * look-ups in memory only; no other lock is acquired under it.
 *
 * Where identities do not last, a frozen file is known by its path as well.
 *
 * An image that nobody writes is open once, however many chains have it: whoever opened it offers
 * its node to the others.
 */
#ifndef BLOCK_IMAGE_FILE_TABLE_H
#define BLOCK_IMAGE_FILE_TABLE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/image/identity.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct driver;
struct file_table;
struct file_claim;
struct frozen_mark;
struct node;

struct file_table *file_table_new(void);        /* NULL when memory is short */
void file_table_free(struct file_table *table); /* nothing is claimed any more */

/* An intended use of a file. */
struct file_use {
    dev_t dev;
    ino_t ino;
    const char *path; /* for messages */
    bool read_only;
};

/* NULL and *err: DeviceInUse if another use excludes this one, whose caller knows who that may be;
 * OutOfResources. The caller checks whether the file is frozen once it has the claim. */
struct file_claim *file_table_claim(struct file_table *table, const struct file_use *use,
                                    struct err *err);
void file_claim_release(struct file_claim *claim);
CLEANUP_DEFINE(claim, struct file_claim *, file_claim_release)

/* The writer becomes a reader; the only reader becomes the writer: 0, or -1 and *err (DeviceInUse)
 * if there are others. `path`: for the message. */
void file_claim_to_reader(struct file_claim *claim);
int file_claim_to_writer(struct file_claim *claim, const char *path, struct err *err);

/* ---- one node for all chains ---- */

/* An open image that other chains may use as well, with all beneath it. */
struct shared_image {
    struct node *node;
    atomic_uint *refs;     /* its references; at 0 it is being closed */
    const char *used_path; /* relative names in its header start there */
    const struct driver *driver;
};

/* Offers the image, open with that claim, until the claim is released. If one of the file is
 * offered already, that one is returned, with a reference. Else NULL. */
struct node *file_claim_share(struct file_claim *claim, const struct shared_image *image);

/* No other chain gets the image from now on. */
void file_claim_unshare(struct file_claim *claim);

/* The image that is offered of that file, of that name and format, with a reference; or NULL. */
struct node *file_table_shared(struct file_table *table, dev_t dev, ino_t ino,
                               const char *used_path, const struct driver *driver);

/* Calls `each` for every image that is offered, under the table's lock, until it returns other than
 * 0; returns that, or 0. The node may be one that is being closed: shared_image_ref() tells. */
int file_table_each_shared(struct file_table *table,
                           int (*each)(void *arg, const struct shared_image *image), void *arg);

/* Within such a call: whether the node gets another reference. It is not dropped there. */
bool shared_image_ref(const struct shared_image *image);

bool file_table_is_used(struct file_table *table, dev_t dev, ino_t ino);

/* Waits until nobody uses the file, no longer than that: true. False: somebody does; at once after
 * file_table_stop(). */
bool file_table_await(struct file_table *table, dev_t dev, ino_t ino, unsigned timeout_ms);
void file_table_stop(struct file_table *table);

/* The node of the only one who has the file open, if it is offered, with a reference; or NULL. */
struct node *file_table_only_node(struct file_table *table, dev_t dev, ino_t ino);

/* ---- frozen files ---- */

/* A mark is made while memory may still run out, and set when nothing may fail any more. */
struct frozen_mark *frozen_mark_new(const struct identity *identity, const char *path);
void frozen_mark_free(struct frozen_mark *mark);
CLEANUP_DEFINE(mark, struct frozen_mark *, frozen_mark_free)
const char *frozen_mark_identity(const struct frozen_mark *mark);
const char *frozen_mark_path(const struct frozen_mark *mark);

/* Takes the mark over; if the file has one already, nothing changes. Cannot fail. */
void file_table_freeze(struct file_table *table, struct frozen_mark *mark);

/* Drops the mark of that file at that path, which is gone. */
void file_table_unmark(struct file_table *table, const struct identity *identity, const char *path);

/* Drops all marks of that file, which is frozen no longer. */
void file_table_unfreeze(struct file_table *table, const struct identity *identity,
                         const char *path);

bool file_table_is_frozen(struct file_table *table, const struct identity *identity,
                          const char *path);

#endif
