/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of journals, RUNTIME_DIR/journals, and its leftovers: the journals and sync-failure
 * notes that an earlier daemon left there. Private to block/.
 *
 * I1. The directory is locked (flock) while it is open: a second daemon never replays a journal
 *     that the first one still writes. No assert: the kernel has that state.
 * I2. Leftovers are listed once found and never removed from the list; whether one still exists
 *     is checked on the file. No assert: no function removes one.
 * I3. A leftover's file is loaded or deleted only by the thread that holds the leftover: of two
 *     chains that share an image, the second waits until the first has replayed it.
 *
 * Threads: any. The lock guards the list and who holds a leftover; nothing is opened, read or
 * written under it, but the directory may be searched for a name.
 */
#ifndef BLOCK_IMAGE_JOURNAL_DIR_H
#define BLOCK_IMAGE_JOURNAL_DIR_H

#include "base/err.h"
#include "block/image/journal.h"

#include <stdbool.h>
#include <stdint.h>

struct journal_dir;

/* A journal or a note. */
struct leftover {
    struct leftover *next;
    struct leftover *next_of_image, *next_of_path; /* in their buckets, with others */
    char name[JOURNAL_NAME_BYTES];
    uint64_t path_hash;
    char *path;   /* of the image when the leftover was found; "" if unknown */
    bool is_held; /* guarded by the directory's lock */
};

/* Opens RUNTIME_DIR/journals, creating it if necessary, and lists its leftovers; what is empty or
 * of another boot is deleted. Before any image is opened. NULL and *err (OpenFileFailed,
 * OutOfResources) on failure. */
struct journal_dir *journal_dir_open(const char *runtime_dir, struct err *err);

void journal_dir_close(struct journal_dir *dir); /* no journal is open */

/* All below take NULL for a daemon without journals: there are no leftovers. */

int journal_dir_fd(const struct journal_dir *dir); /* borrowed; -1 without journals */
const char *journal_dir_path(const struct journal_dir *dir);

/* The journal (JOURNAL_SUFFIX) or note (NOTE_SUFFIX) of the image, held; *found is NULL if there is
 * none. `path` is the image's. 0, or -1 and *err. */
int journal_dir_find(struct journal_dir *dir, const struct journal_image *image, const char *path,
                     const char *suffix, struct leftover **found, struct err *err);

/* The newest leftover, to start an iteration over all at, or NULL. */
struct leftover *journal_dir_first(struct journal_dir *dir);

/* Where the search for leftovers of images that had that path starts, or NULL. */
struct leftover *journal_dir_first_of_path(struct journal_dir *dir, const char *path);

/* The first leftover from *at on of an image that had that path, held, or NULL; moves *at past
 * it. */
struct leftover *journal_dir_next_of_path(struct journal_dir *dir, const char *path,
                                          struct leftover **at);

/* Whether there is a leftover of an image that had that path. */
bool journal_dir_has_path(struct journal_dir *dir, const char *path);

void leftover_release(struct journal_dir *dir, struct leftover *leftover);

/* ---- one leftover; held, but for the first two ---- */

bool leftover_exists(const struct journal_dir *dir, const struct leftover *leftover);
bool leftover_is_note(const struct leftover *leftover);

/* Loads a journal to be replayed. 0 with NULL: it is empty, or has been replayed. -1 with NULL: it
 * belongs to an image that is open (DeviceInUse) or cannot be read (UnflushedData,
 * OutOfResources). */
int leftover_load(const struct journal_dir *dir, const struct leftover *leftover, const char *path,
                  struct journal **journal, struct err *err);

/* Whether a note is of this boot; deletes it otherwise. */
bool leftover_note_holds(const struct journal_dir *dir, const struct leftover *leftover);

/* Deletes the file whatever it has of the image `path`, and logs it. OpenFileFailed. */
int leftover_delete(const struct journal_dir *dir, const struct leftover *leftover,
                    const char *path, struct err *err);

#endif
