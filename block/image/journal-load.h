/* SPDX-License-Identifier: Apache-2.0
 *
 * Journals of an earlier daemon: judged, read, and gone on with.
 */
#ifndef BLOCK_IMAGE_JOURNAL_LOAD_H
#define BLOCK_IMAGE_JOURNAL_LOAD_H

#include "block/image/journal.h"

enum journal_state {
    JOURNAL_GOOD,
    JOURNAL_VOID,    /* of another boot, or its creation was cut short: to be deleted */
    JOURNAL_LIVE,    /* of an image that is open, and not empty */
    JOURNAL_IDLE,    /* of an image that is open, and empty */
    JOURNAL_FOREIGN, /* unreadable; *err says why */
};

/* Opens a journal of an earlier daemon to be replayed: appending does nothing. NULL unless
 * JOURNAL_GOOD. `at_start`: this process has not opened an image yet, so none is live. One caller
 * at a time for a name. */
struct journal *journal_load(int dirfd, const char *name, bool at_start, enum journal_state *state,
                             struct err *err);

/* Gives a loaded one the name of the image that is open as `image_fd`, and its path. 0 or
 * -errno. */
int journal_rename(struct journal *journal, int image_fd, const char *path);
/* All records, in order (heap), without a torn last one. 0, or -1 and *err. */
int journal_records(const struct journal *journal, struct journal_record **records, size_t *count,
                    struct err *err);

/* The first `count` records have been replayed; later changes are appended to them. A torn record
 * is overwritten. */
void journal_resume(struct journal *journal, size_t count);

#endif
