/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal.h; journal-file.h has the file.
 *
 *     LOADED --journal_resume--> APPENDING --journal_close--> (closed)
 *     journal_create ---------------^
 *
 * J1. head <= mark <= tail, and all records between head and tail fit into the segments.
 * J2. A record is complete before `tail` passes it. No assert: another process checks, by `check`.
 * J3. `head` passes a record before its segment is used again: a segment is free or has records, or
 *     the next record goes into it.
 * J4. A change appends only within room that was reserved, so a journal never overflows.
 */
#include "block/image/journal.h"

#include "base/log.h"
#include "block/image/journal-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static_assert(JOURNAL_RESERVE_MAX <= FIRST_RECORDS, "journal room");

/* ---- files ---- */

/* Allocates the rest of slot 0, or the next one. */
static bool journal_grow(struct journal *journal)
{
    struct header *header = journal->header;
    if (header->segments == SEGMENTS_MAX || journal->cannot_grow)
        return false;
    CLEANUP_CLOSE int fd = openat(journal->dirfd, journal->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    off_t end = HEADER_BYTES + (off_t)header->segments * SEGMENT_BYTES;
    off_t offset = header->is_short ? HEADER_BYTES + FIRST_BYTES : end;
    off_t length = header->is_short ? end - offset : SEGMENT_BYTES;
    if (fd < 0 || posix_fallocate(fd, offset, length) != 0) {
        journal->cannot_grow = true;
        log_warning("journal '%s' of image '%s' cannot grow; there will be more flushes",
                    journal->name, header->path);
        return false;
    }
    if (!header->is_short)
        journal->free_segments |= 1ULL << header->segments++;
    header->is_short = 0;
    return true;
}

static int journal_fill_header(struct journal *journal, const char *path, const char *format,
                               struct err *err)
{
    struct header *header = journal->header;
    if (strlen(path) >= sizeof(header->path) || strlen(format) >= sizeof(header->format))
        return err_set(err, ErrOpenFileFailed, ENAMETOOLONG, "image '%s' cannot have a journal",
                       path);
    if (journal_boot_id(header->boot_id, err) != 0)
        return -1;
    strcpy(header->path, path);
    strcpy(header->format, format);
    journal_fill_identity(journal);
    header->segments = 1;
    header->is_short = 1;
    journal->free_segments = 1;
    journal->mark = SEGMENT_RECORDS;
    atomic_store(&header->head, SEGMENT_RECORDS);
    atomic_store(&header->tail, SEGMENT_RECORDS);
    atomic_store(&header->is_open, 1);
    atomic_store(&header->magic, JOURNAL_MAGIC);
    return 0;
}

static int journal_error(const char *path, int errnum, struct err *err)
{
    if (errnum == EEXIST)
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' already has a journal with unflushed writes", path);
    return err_set(err, ErrOpenFileFailed, errnum,
                   "image '%s' cannot have a journal in the runtime directory", path);
}

struct journal *journal_create(int dirfd, const struct identity *image, const char *path,
                               const char *format, struct err *err)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name_fill(image, JOURNAL_SUFFIX, name);
    CLEANUP_CLOSE int fd =
        openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        journal_error(path, errno, err);
        return NULL;
    }
    int ret = ftruncate(fd, FILE_BYTES) != 0 ? -errno : 0;
    if (ret == 0)
        ret = -posix_fallocate(fd, 0, HEADER_BYTES + FIRST_BYTES);
    CLEANUP(journal) struct journal *journal = ret ? NULL : journal_map(dirfd, name, fd);
    if (!journal)
        journal_error(path, ret ? -ret : ENOMEM, err);
    else if (journal_fill_header(journal, path, format, err) == 0)
        return steal(journal);
    unlinkat(dirfd, name, 0);
    return NULL;
}

void journal_end(struct journal *journal, bool discard)
{
    if (!journal)
        return;
    if (discard || journal_is_empty(journal))
        unlinkat(journal->dirfd, journal->name, 0);
    else if (!journal->is_loaded)
        log_warning("image '%s' is closed with unflushed changes; journal '%s' keeps them",
                    journal->header->path, journal->name);
    if (!journal->is_loaded)
        atomic_store(&journal->header->is_open, 0);
}

void journal_free(struct journal *journal)
{
    if (journal)
        journal_unmap(journal);
}

void journal_close(struct journal *journal, bool discard)
{
    journal_end(journal, discard);
    journal_free(journal);
}

bool journal_is_empty(const struct journal *journal)
{
    return atomic_load(&journal->header->head) == atomic_load(&journal->header->tail);
}

const char *journal_path(const struct journal *journal)
{
    return journal->header->path;
}

const char *journal_format(const struct journal *journal)
{
    return journal->header->format;
}

void journal_set_stamp(struct journal *journal, const unsigned char stamp[JOURNAL_STAMP_BYTES])
{
    assert(journal_is_empty(journal));
    memcpy(journal->header->stamp, stamp, JOURNAL_STAMP_BYTES);
}

const unsigned char *journal_stamp(const struct journal *journal)
{
    static const unsigned char none[JOURNAL_STAMP_BYTES];
    const unsigned char *stamp = journal->header->stamp;
    return memcmp(stamp, none, sizeof(none)) == 0 ? NULL : stamp;
}

/* ---- appending ---- */

/* Free room, in records. */
static size_t journal_room(const struct journal *journal)
{
    const size_t most = journal->header->is_short ? FIRST_RECORDS : SEGMENT_RECORDS;
    size_t used = atomic_load(&journal->header->tail) % SEGMENT_RECORDS;
    assert(used <= most);
    return (size_t)__builtin_popcountll(journal->free_segments) * most + (used ? most - used : 0);
}

/* An empty journal begins with a whole segment again, if it has not. Until `magic` is back it is
 * void, for a daemon that finds it, as it was. */
static bool journal_rewind(struct journal *journal)
{
    struct header *header = journal->header;
    uint64_t tail = atomic_load(&header->tail);
    if (!journal_is_empty(journal) || tail % SEGMENT_RECORDS == 0)
        return false;
    unsigned slot = journal->slot_of[tail / SEGMENT_RECORDS % SEGMENTS_MAX];
    tail += SEGMENT_RECORDS - tail % SEGMENT_RECORDS;
    atomic_store(&header->magic, 0);
    segment_at(journal, slot)->number = 0;
    journal->free_segments |= 1ULL << slot;
    journal->mark = tail;
    atomic_store(&header->head, tail);
    atomic_store(&header->tail, tail);
    atomic_store(&header->magic, JOURNAL_MAGIC);
    journal_assert_state(journal);
    return true;
}

bool journal_reserve(struct journal *journal, size_t count)
{
    assert(count <= JOURNAL_RESERVE_MAX);
    if (!journal || journal->is_loaded)
        return true;
    while (journal_room(journal) < journal->reserved + count)
        if (!journal_grow(journal) && !journal_rewind(journal))
            return false;
    journal->reserved += count;
    return true;
}

void journal_unreserve(struct journal *journal, size_t count)
{
    if (!journal || journal->is_loaded)
        return;
    assert(journal->reserved >= count); /* J4 */
    journal->reserved -= count;
}

/* NULL when memory is short: then no changes are merged. */
static uint64_t *latest_slot(struct journal *journal, uint64_t place)
{
    if (!journal->latest)
        journal->latest = calloc(1U << LATEST_BITS, sizeof(*journal->latest));
    return journal->latest ? &journal->latest[place * 0x9e3779b97f4a7c15ULL >> (64 - LATEST_BITS)]
                           : NULL;
}

static void segment_begin(struct journal *journal, uint64_t number)
{
    assert(journal->free_segments); /* J4 */
    unsigned slot = (unsigned)__builtin_ctzll(journal->free_segments);
    journal->free_segments &= ~(1ULL << slot);
    journal->slot_of[number % SEGMENTS_MAX] = (unsigned char)slot;
    segment_at(journal, slot)->number = number + 1;
}

/* The record of this generation into which the change can be merged, or NULL. */
static struct journal_record *record_to_merge(const struct journal *journal, uint64_t latest,
                                              uint64_t place, const uint64_t old[2],
                                              const uint64_t new[2])
{
    if (latest < journal->mark || latest >= atomic_load(&journal->header->tail) || old[0] != new[0])
        return NULL;
    struct journal_record *record = record_at(journal, latest);
    bool follows = record->place == place && record->new[0] == old[0] && record->new[1] == old[1];
    return follows ? record : NULL;
}

void journal_append(struct journal *journal, uint64_t place, const uint64_t old[2],
                    const uint64_t new[2])
{
    if (!journal || journal->is_loaded || (old[0] == new[0] && old[1] == new[1]))
        return;
    assert(journal->reserved > 0); /* J4 */
    uint64_t *latest = latest_slot(journal, place);
    struct journal_record *record =
        latest ? record_to_merge(journal, *latest, place, old, new) : NULL;
    if (record) {
        __atomic_store_n(&record->new[1], new[1], __ATOMIC_RELEASE);
        return;
    }
    uint64_t number = atomic_load_explicit(&journal->header->tail, memory_order_relaxed);
    if (number % SEGMENT_RECORDS == 0)
        segment_begin(journal, number / SEGMENT_RECORDS);
    record = record_at(journal, number);
    *record =
        (struct journal_record){.place = place, .old = {old[0], old[1]}, .new = {new[0], new[1]}};
    record->check = record_check(record, number);
    if (latest)
        *latest = number;
    atomic_store_explicit(&journal->header->tail, number + 1, memory_order_release);
}

void journal_mark(struct journal *journal)
{
    if (!journal)
        return;
    journal->mark = atomic_load(&journal->header->tail);
    journal_assert_state(journal);
}

void journal_drop(struct journal *journal)
{
    if (!journal)
        return;
    uint64_t head = atomic_load(&journal->header->head), mark = journal->mark;
    atomic_store_explicit(&journal->header->head, mark, memory_order_release);
    for (uint64_t i = head / SEGMENT_RECORDS; i < mark / SEGMENT_RECORDS && !journal->is_loaded;
         i++)
        journal->free_segments |= 1ULL << journal->slot_of[i % SEGMENTS_MAX];
    journal_assert_state(journal);
}

bool journal_is_filling(const struct journal *journal)
{
    if (!journal || journal_is_empty(journal))
        return false;
    unsigned there = journal->header->segments;
    unsigned used = there - (unsigned)__builtin_popcountll(journal->free_segments);
    return used * 4 > (journal->cannot_grow ? there : SEGMENTS_MAX) * 3;
}
