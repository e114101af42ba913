/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of one image: its unflushed table changes. Private to block/.
 *
 * A driver keeps changed tables in memory until a flush; guest data is in the page cache at once.
 * If the daemon is killed, only changes of tables are lost. Each is therefore appended here too,
 * before its request returns: a copy into mapped memory, no system call. The file is in the runtime
 * directory and valid for one boot: after a power loss the image is as of its last flush, and the
 * journal is deleted.
 *
 * Its name is the image's identity (identity.h), so it is found after a rename or remount, and
 * never for another file.
 *
 *     open for writing --journal_create--> append, append, ...
 *          flush:  journal_mark    with the copy of the changed tables  (the image's lock)
 *                  ... the tables are written and durable ...
 *                  journal_drop    the records before the mark
 *          flush fails: no drop; the next flush marks and drops both generations
 *     journal_close: an empty journal is deleted, one with records is kept
 *     later: journal_load, driver.set_writable, journal_resume (journal-recovery.h), then as above
 *
 * A record: the word pair at `place`, a number that only the driver understands, was `old` and is
 * `new`. The records of one place form a chain: `old` of each is `new` of the one before. A second
 * change of one place in one generation that keeps new[0] replaces new[1] in the record: one
 * aligned store, which a kill cannot tear.
 *
 * A change first reserves room for the most that it may append; if that fails, it flushes.
 *
 * Threads: from the first append on the caller holds the image's lock, except in journal_close().
 * NULL is an image without a journal.
 */
#ifndef BLOCK_IMAGE_JOURNAL_H
#define BLOCK_IMAGE_JOURNAL_H

#include "base/cleanup.h"
#include "base/err.h"
#include "block/image/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

struct journal_record {
    uint64_t place;
    uint64_t old[2], new[2];
    uint64_t check; /* over all but new[1], and over the record's number */
};

#define JOURNAL_SUFFIX     ".journal" /* of a journal's name */
#define JOURNAL_NAME_BYTES 72

#define BOOT_ID_BYTES 36
int journal_boot_id(char boot_id[BOOT_ID_BYTES], struct err *err); /* OpenFileFailed */

/* IDENTITY and the suffix: the name of a journal or a note (sync-note.h) of the image that is open
 * as `fd`. 0 or -errno. */
int journal_name(int fd, const char *suffix, char name[JOURNAL_NAME_BYTES]);
void journal_name_fill(const struct identity *identity, const char *suffix,
                       char name[JOURNAL_NAME_BYTES]);

/* The parts of a journal's name, today and with older daemons. */
struct journal_image {
    unsigned dev_major, dev_minor;
    unsigned long long ino, birth_ns;
    struct identity identity;
};
int journal_image_of(int fd, struct journal_image *image); /* 0 or -errno */

/* Whether the journal or note `name` is of that image. Older daemons named them
 * MAJOR.MINOR-INODE-BIRTH; a remount may change the device number, so it is compared only if there
 * is no time of birth. */
bool journal_name_is_of(const char *name, const struct journal_image *image);

/* The inode number in a name of either kind; 0: it has none, and is no image's. */
unsigned long long journal_name_ino(const char *name);

/* Creates an empty journal of the image `image`, in `dirfd` (borrowed until journal_close). NULL
 * and *err (OpenFileFailed) on failure, also if it exists. */
struct journal *journal_create(int dirfd, const struct identity *image, const char *path,
                               const char *format, struct err *err);

/* A journal of an earlier daemon. */
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
const char *journal_path(const struct journal *journal);   /* of the image */
const char *journal_format(const struct journal *journal); /* of the image */

/* All records, in order (heap), without a torn last one. 0, or -1 and *err. */
int journal_records(const struct journal *journal, struct journal_record **records, size_t *count,
                    struct err *err);

/* The first `count` records have been replayed; later changes are appended to them. A torn record
 * is overwritten. */
void journal_resume(struct journal *journal, size_t count);

bool journal_is_empty(const struct journal *journal);

/* Unmaps and frees; deletes the file if the journal is empty or, `discard`, in any case. NULL:
 * nothing. */
void journal_close(struct journal *journal, bool discard);

/* Room for `count` more records, at most JOURNAL_RESERVE_MAX, until journal_unreserve releases all
 * of it, however much was appended. False: flush first. */
#define JOURNAL_RESERVE_MAX 1300
bool journal_reserve(struct journal *journal, size_t count);
void journal_unreserve(struct journal *journal, size_t count);

/* Within reserved room. */
void journal_append(struct journal *journal, uint64_t place, const uint64_t old[2],
                    const uint64_t new[2]);

void journal_mark(struct journal *journal);
void journal_drop(struct journal *journal);

/* Whether a flush is due, so that no change waits for room. */
bool journal_is_filling(const struct journal *journal);

#endif
