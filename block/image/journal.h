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
 *     later: journal_load, driver.set_writable, journal_resume (journal-load.h), then as above
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
#include "block/image/journal-name.h"
#include "block/image/journal-record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

/* Creates an empty journal of the image `image`, in `dirfd` (borrowed until journal_close). NULL
 * and *err (OpenFileFailed) on failure, also if it exists. */
struct journal *journal_create(int dirfd, const struct identity *image, const char *path,
                               const char *format, struct err *err);

const char *journal_path(const struct journal *journal);   /* of the image */
const char *journal_format(const struct journal *journal); /* of the image */

/* The same random bytes in a journal and in its image, as in no earlier content of that file, so
 * that a journal is not replayed onto an image that was restored from a backup since. Set before
 * the first append; NULL: none was. */
void journal_set_stamp(struct journal *journal, const unsigned char stamp[JOURNAL_STAMP_BYTES]);
const unsigned char *journal_stamp(const struct journal *journal);

bool journal_is_empty(const struct journal *journal);

/* Unmaps and frees; deletes the file if the journal is empty or, `discard`, in any case. NULL:
 * nothing. */
void journal_close(struct journal *journal, bool discard);

/* The same in two steps. The second unmaps, which interrupts every processor: nobody need wait for
 * it. NULL: nothing. */
void journal_end(struct journal *journal, bool discard);
void journal_free(struct journal *journal);

/* Room for `count` more records, at most JOURNAL_RESERVE_MAX, until journal_unreserve releases all
 * of it, however much was appended. False: flush first. */
#define JOURNAL_RESERVE_MAX 300
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
