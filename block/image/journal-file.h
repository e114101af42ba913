/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of a journal, in the byte order of the machine (it never leaves it). Private to
 * journal.c, which writes it, and journal-load.c, which reads it.
 *
 *     0                 struct header
 *     HEADER_BYTES      segment 0, segment 1, ... segment 63: SEGMENT_BYTES each
 *     segment           its number + 1, then SEGMENT_RECORDS records
 *
 * Records are numbered from SEGMENT_RECORDS on; record r is in the segment of number
 * r / SEGMENT_RECORDS. A segment occupies the lowest free slot of the file. So a journal that is
 * flushed often stays small; another one grows, by fallocate, when room is reserved, and a store
 * into the mapping never needs unallocated memory. At first slot 0 has memory for its first
 * records only, since each page costs a group its time; the rest comes before the second slot.
 *
 * `head` and `tail` are the numbers of the first record and of the one after the last.
 */
#ifndef BLOCK_IMAGE_JOURNAL_FILE_H
#define BLOCK_IMAGE_JOURNAL_FILE_H

#include "base/cleanup.h"
#include "block/image/journal-name.h"
#include "block/image/journal-record.h"

#include <assert.h>
#include <limits.h>
#include <stdatomic.h>

#define JOURNAL_MAGIC 0x314c4e524a474e53ULL /* "SNGJRNL1" */

enum {
    JOURNAL_VERSION = 2,
    JOURNAL_VERSION_NAMELESS = 1, /* of a daemon that did not record identities */
    HEADER_BYTES = 8192,
    SEGMENT_BYTES = 64 << 10,
    SEGMENTS_MAX = 64,
    FIRST_BYTES = 16 << 10, /* of slot 0, at first: JOURNAL_RESERVE_MAX always fits once empty */
    FILE_BYTES = HEADER_BYTES + SEGMENTS_MAX * SEGMENT_BYTES,
    SEGMENT_RECORDS = SEGMENT_BYTES / sizeof(struct journal_record) - 1,
    FIRST_RECORDS = FIRST_BYTES / sizeof(struct journal_record) - 1,
    LATEST_BITS = 14,
};
static_assert(sizeof(struct journal_record) == 48, "journal record");

struct header {
    _Atomic uint64_t magic; /* written last */
    uint32_t version;
    uint32_t segments; /* that have memory; of slot 0 perhaps only the first part */
    _Atomic uint64_t head, tail;
    char boot_id[40];
    char format[64];
    char path[PATH_MAX];
    char identity[FILE_IDENTITY_BYTES];       /* from version 2 on */
    _Atomic uint32_t is_open;                 /* a process appends to it, or has died since */
    unsigned char stamp[JOURNAL_STAMP_BYTES]; /* all zeros: the image has none */
    uint32_t is_short;                        /* slot 0 has FIRST_BYTES; it is the only one then */
};
static_assert(sizeof(struct header) <= HEADER_BYTES, "journal header");

struct segment {
    uint64_t number; /* + 1; 0: not in use */
    uint64_t unused[5];
    struct journal_record records[SEGMENT_RECORDS];
};
static_assert(sizeof(struct segment) <= SEGMENT_BYTES, "journal segment");

struct journal {
    struct header *header; /* the mapping */
    int dirfd;             /* borrowed */
    bool is_loaded;        /* to be replayed: takes no records */
    bool cannot_grow;
    uint64_t mark;
    size_t reserved;
    uint64_t free_segments;              /* a bit for each that has memory */
    unsigned char slot_of[SEGMENTS_MAX]; /* of the segments in use, by number modulo their count */
    uint64_t *latest; /* by hash of the place: perhaps its latest record; NULL before the first */
    char name[JOURNAL_NAME_BYTES];
};

/* Maps the file. NULL when memory is short. */
struct journal *journal_map(int dirfd, const char *name, int fd);
void journal_unmap(struct journal *journal);
CLEANUP_DEFINE(journal, struct journal *, journal_unmap)

/* Copies the identity from the journal's name. */
void journal_fill_identity(struct journal *journal);

void journal_assert_state(const struct journal *journal);

static inline struct segment *segment_at(const struct journal *journal, unsigned slot)
{
    return (struct segment *)(void *)((char *)journal->header + HEADER_BYTES +
                                      (size_t)slot * SEGMENT_BYTES);
}

static inline struct journal_record *record_at(const struct journal *journal, uint64_t number)
{
    unsigned slot = journal->slot_of[number / SEGMENT_RECORDS % SEGMENTS_MAX];
    return &segment_at(journal, slot)->records[number % SEGMENT_RECORDS];
}

static inline uint64_t record_check(const struct journal_record *record, uint64_t number)
{
    const uint64_t words[] = {number, record->place, record->old[0], record->old[1],
                              record->new[0]};
    uint64_t hash = JOURNAL_MAGIC;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 32;
    }
    return hash;
}

#endif
