/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces: the parts of a write request that are handled the same way (piece.c).
 */
#ifndef BLOCK_FORMAT_QCOW2_PIECE_H
#define BLOCK_FORMAT_QCOW2_PIECE_H

#include "block/format/qcow2/l2.h"

enum qcow2_piece_state {
    QCOW2_PIECE_BEGUN,
    QCOW2_PIECE_IN_PLACE,
    QCOW2_PIECE_MAPPED,
    QCOW2_PIECE_ENDED
};

struct qcow2_piece {
    enum qcow2_piece_state state;
    struct qcow2_range_lock range; /* MAPPED */
    uint64_t offset, end;          /* in the guest */
    uint64_t host;                 /* in the file: of `offset` if in place, else of fill_start */
    bool is_new;                   /* clusters were allocated for it */
    bool is_fresh;                 /* and they read as zeros */
    bool is_whole;                 /* the cluster's old content moves along */
    uint64_t fill_start, fill_end; /* MAPPED: the guest range that is written */
    size_t reserved;               /* journal records */
    struct qcow2_entry old;        /* of the first cluster */
};

/* Plans the next piece of [offset, end). A mapped one holds its range lock afterwards. 0,
 * NODE_NEEDS_ROOM: a flush must come first, or -errno. */
int qcow2_piece_begin(struct qcow2 *q, struct qcow2_piece *piece, uint64_t offset, uint64_t end);

/* The same for a request that must not wait: its first piece is all of it, or the rest is in place.
 * Else -EAGAIN. */
int qcow2_piece_begin_cached(struct qcow2 *q, struct qcow2_piece *piece, uint64_t offset,
                             uint64_t end);

/* Ends a mapped piece whose data have been written (`ret` 0: its entries change) or not (its
 * clusters are freed). Takes the lock. Returns `ret`, or -errno. */
int qcow2_piece_end(struct qcow2 *q, struct qcow2_piece *piece, int ret);

#endif
