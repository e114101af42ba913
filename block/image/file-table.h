/* SPDX-License-Identifier: Apache-2.0
 *
 * Which files are in use, by whom, and which are frozen: the one place that decides who may open an
 * image. Private to block/.
 *
 *     claimed     open, or about to be: by (st_dev, st_ino), so whatever its name. Any number of readers, or
 *                 one writer
 *     frozen      belongs to what a group froze, open or not: by identity (identity.h), so whatever its
 *                 name and after a restart too. No user ever writes it again; what an earlier daemon
 *                 acknowledged before the cut may still have to be written to it
 *
 * Whoever opens a file claims it first, before anything of it is read; the claim goes after the
 * descriptor has been closed. So nobody has to hold a lock while he opens, reads or closes a file:
 * of two who want the same one the second is refused at once, and who wants another one never
 * waits. The table's own lock is held for a few look-ups in memory only, and none is taken under
 * it.
 *
 * Some file systems give no identity that lasts: there a frozen file is known by its path as well.
 */
#ifndef BLOCK_IMAGE_FILE_TABLE_H
#define BLOCK_IMAGE_FILE_TABLE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/image/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file_table;
struct file_claim;
struct frozen_mark;

struct file_table *file_table_new(void);        /* NULL when memory is short */
void file_table_free(struct file_table *table); /* nothing is claimed any more */

/* How somebody is going to use a file. */
struct file_use {
    dev_t dev;
    ino_t ino;
    const char *path; /* for messages */
    bool read_only;
    const char *user; /* as a phrase: "device 'vda'" */
};

/* NULL and *err: DeviceInUse if others use it in a way that excludes this; OutOfResources. Whether
 * it is frozen is asked by the caller, once he has the claim. */
struct file_claim *file_table_claim(struct file_table *table, const struct file_use *use,
                                    struct err *err);
void file_claim_release(struct file_claim *claim);
CLEANUP_DEFINE(claim, struct file_claim *, file_claim_release)

/* A writer only reads from now on. */
void file_claim_to_reader(struct file_claim *claim);

/* Who uses the file: the writer if there is one, else one of the readers. False: nobody. */
bool file_table_user(struct file_table *table, dev_t dev, ino_t ino, char *user, size_t bytes,
                     bool *is_writer);

/* ---- frozen files ---- */

/* A mark is made while memory may still run out, and set when nothing may fail any more. */
struct frozen_mark *frozen_mark_new(const struct identity *identity, const char *path);
void frozen_mark_free(struct frozen_mark *mark);
CLEANUP_DEFINE(mark, struct frozen_mark *, frozen_mark_free)
const char *frozen_mark_identity(const struct frozen_mark *mark);
const char *frozen_mark_path(const struct frozen_mark *mark);

/* Takes the mark over; if the file has one already, nothing changes. Cannot fail. */
void file_table_freeze(struct file_table *table, struct frozen_mark *mark);

bool file_table_is_frozen(struct file_table *table, const struct identity *identity,
                          const char *path);

#endif
