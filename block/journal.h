/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of one image: what changed in its tables since they were last written to the file.
 * Private to block/.
 *
 * A driver keeps changed tables in memory until a flush; guest data is in the page cache at once.
 * So when the daemon is killed, only changes of tables are lost. Each is therefore appended here as
 * well, before the request that made it returns: a copy into mapped memory, no system call. The
 * file lies in the runtime directory and is good for one boot: after a power loss the image is what
 * its last flush made it, and the journal is thrown away.
 *
 *     open for writing --journal_create--> append, append, ...
 *          flush:  journal_mark    with the tables that the flush will write      (the image's lock)
 *                  ... the tables are written and durable ...
 *                  journal_drop    what was there at the mark is not needed any more
 *          flush fails: no drop; the next flush marks and drops both generations
 *     journal_close: an empty journal is deleted, one with records stays for the next start
 *     start of the daemon: journal_load, driver.replay, journal_resume, then like any other (journals.c)
 *
 * A record says that the word pair at `place`, a number that only the driver understands, was `old`
 * and is `new`. The records of one place form a chain: each starts with what the one before it
 * left. A second change of the same place in the same generation that leaves new[0] alone replaces
 * new[1] where it is: one aligned store, so there is no moment at which a kill finds half of it.
 *
 * A journal must never overflow: whoever wants to change something reserves room for the most that
 * this may append, before anything is changed, and may be told to flush first.
 *
 * Threads: the caller holds the image's lock from the first append on, in all of these but close. Those
 * that a driver calls take NULL for an image without a journal.
 */
#ifndef BLOCK_JOURNAL_H
#define BLOCK_JOURNAL_H

#include "base/cleanup.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

struct journal_record {
    uint64_t place;
    uint64_t old[2], new[2];
    uint64_t check; /* over all but new[1], and over the record's number */
};

#define JOURNAL_SUFFIX     ".journal"
#define JOURNAL_NAME_BYTES 64

/* The journal's name of the image that is open as `fd`: device, inode and time of birth, so that no
 * other file ever has it. 0 or -errno. */
int journal_name(int fd, char name[JOURNAL_NAME_BYTES]);

/* Makes the journal of the image that is open as `image_fd`, empty, in `dirfd` (borrowed: it must
 * stay open until journal_close). NULL and *err (OpenFileFailed) on failure, also if there is one. */
struct journal *journal_create(int dirfd, int image_fd, const char *path, const char *format,
                               struct err *err);

/* What a journal that was left behind is. */
enum journal_state {
    JOURNAL_GOOD,
    JOURNAL_VOID,    /* of another boot, or its creation was cut short: to be deleted */
    JOURNAL_FOREIGN, /* not to be understood; *err says why */
};

/* Opens what is left behind to be replayed: appending does nothing. NULL unless JOURNAL_GOOD. */
struct journal *journal_load(int dirfd, const char *name, enum journal_state *state,
                             struct err *err);
const char *journal_path(const struct journal *journal);   /* of the image */
const char *journal_format(const struct journal *journal); /* of the image */

/* All records, in order (heap). A last one that is torn is left out. 0, or -1 and *err. */
int journal_records(const struct journal *journal, struct journal_record **records, size_t *count,
                    struct err *err);

/* The first `count` records have been replayed; what changes from now on is appended to them. A torn
 * one is overwritten. */
void journal_resume(struct journal *journal, size_t count);

bool journal_is_empty(const struct journal *journal);

/* Unmaps and frees; deletes the file if the journal is empty or, `discard`, in any case. */
void journal_close(struct journal *journal, bool discard);

/*
 * A failed fdatasync: the kernel may have dropped pages that it could not write, and say that all is well
 * the next time. So until the machine boots again nobody can tell whether what is read of the image will be
 * there after a power loss. That is noted beside the journals, for a daemon that is started again: it must
 * not go on as if nothing had been. Whoever attaches the image by himself after that has decided.
 */

/* Notes it, and logs it. `dirfd` may be -1. */
void journal_distrust(int dirfd, int image_fd, const char *path, int errnum);

/* Whether it is noted of the image that is open as `image_fd`, in this boot. */
bool journal_is_distrusted(int dirfd, int image_fd);

/* Takes the note back, and gives up what the image's journal has. */
void journal_forgive(int dirfd, int image_fd);

/* Deletes the note `name` if it is of another boot. */
void journal_expire(int dirfd, const char *name);
#define DISTRUST_SUFFIX ".failed"

/* Room for `count` more records, until it is given back with journal_unreserve (all of it, however
 * much was appended). False: flush first. `count` up to JOURNAL_RESERVE_MAX. */
#define JOURNAL_RESERVE_MAX 1300
bool journal_reserve(struct journal *journal, size_t count);
void journal_unreserve(struct journal *journal, size_t count);

/* Within reserved room. */
void journal_append(struct journal *journal, uint64_t place, const uint64_t old[2],
                    const uint64_t new[2]);

void journal_mark(struct journal *journal);
void journal_drop(struct journal *journal);

/* Whether it is time for a flush, so that nobody has to wait for room. */
bool journal_is_filling(const struct journal *journal);

#endif
