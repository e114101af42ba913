/* SPDX-License-Identifier: Apache-2.0
 *
 * L2 entries. All calls hold the image's lock; 0 or -errno.
 */
#ifndef BLOCK_FORMAT_QCOW2_L2_H
#define BLOCK_FORMAT_QCOW2_L2_H

#include "block/format/qcow2/state.h"

/* The state of a guest (sub)cluster according to its entry. */
enum qcow2_kind {
    QCOW2_UNALLOCATED, /* reads from the backing node */
    QCOW2_ZEROS,
    QCOW2_DATA,
    QCOW2_DATA_COMPRESSED,
};

struct qcow2_entry {
    uint64_t word;   /* the L2 entry */
    uint64_t bitmap; /* with extended L2 */
};

/* Returns the entry of the cluster at guest `offset`; all zeros if there is no L2 table. */
int qcow2_entry_get(struct qcow2 *q, uint64_t offset, struct qcow2_entry *entry);

/* Returns the raw words of the entry at `offset` and of its successors in the same slice: valid
 * until the next call. *words is NULL if there is no L2 table. *length: the bytes from `offset` on
 * that the answer covers. */
int qcow2_entries_get(struct qcow2 *q, uint64_t offset, const uint64_t **words, uint64_t *length);

static inline struct qcow2_entry qcow2_entry_decode(const struct qcow2 *q, const uint64_t *words)
{
    return (struct qcow2_entry){be64toh(words[0]), q->has_extended_l2 ? be64toh(words[1]) : 0};
}

/* Replaces the entry and appends the change to the journal. The L2 table is writable and one
 * journal record is reserved. */
int qcow2_entry_set(struct qcow2 *q, uint64_t offset, struct qcow2_entry entry);

/* Makes the L2 table for guest `offset` exist and be referenced once, so that it can be changed. */
int qcow2_table_make_writable(struct qcow2 *q, uint64_t offset);

/* Returns the state of the subcluster at `offset`; *host is its offset in the file (QCOW2_DATA).
 * -EIO for an impossible entry. */
int qcow2_entry_kind(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                     enum qcow2_kind *kind, uint64_t *host);

/* Precedes a change of an entry, or a write to its host cluster: a host cluster past the end of the
 * file reads as zeros but belongs to nobody. -EIO and the image is corrupt. `at`: guest offset. */
int qcow2_entry_check_change(struct qcow2 *q, struct qcow2_entry entry, uint64_t at);

/* The offset of the entry's own host cluster; 0 if it has none. */
static inline uint64_t qcow2_entry_host(struct qcow2_entry entry)
{
    return entry.word & QCOW2_COMPRESSED ? 0 : entry.word & QCOW2_OFFSET_MASK;
}

/* Queues the references of a replaced entry for release. */
int qcow2_entry_release(struct qcow2 *q, struct qcow2_entry entry);

/* A journal record's place: this bit and an L1 index, or the number of a guest cluster. */
#define QCOW2_PLACE_L1 (1ULL << 63)

#endif
