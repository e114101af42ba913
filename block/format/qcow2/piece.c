/* SPDX-License-Identifier: Apache-2.0
 *
 * Planning a write. A request is cut into pieces of two kinds:
 *
 *   in place    data of clusters that are referenced once and adjacent in the file: written there,
 *               and no table changes
 *   mapped      anything else: clusters are allocated (or, with extended L2, subclusters of an
 *               existing one), the parts that the request does not cover are filled with the old
 *               content, and once all of it is in the file the entries change, in memory
 *
 *     |----------- unit -----------|----------- unit -----------|
 *     fill_start      offset .............. end          fill_end
 *     [  old content ][       the request's      ][ old content ]
 *
 * A unit is a subcluster, or a cluster if its old content moves as a whole.
 *
 *     BEGUN --piece_extend_in_place--> IN_PLACE
 *       +-----piece_map-------------> MAPPED --qcow2_piece_end--> ENDED
 *
 *   P1  A mapped piece holds the range lock of its clusters from the look-up of their entries to
 *       their change; other mapped pieces, zeroes and discards of these clusters wait.
 *   P2  A piece in place needs no range lock: only zero and discard change the entries it relies
 *       on, and the clusters that those release are not reused while the request holds io_lock. No
 *       assert: a read-write lock does not know its readers.
 *   P3  fill_start <= offset < end <= fill_end, all within the locked clusters.
 *   P4  A mapped piece has reserved a journal record for its table and one for each cluster.
 *   P5  Offset in the cluster is the same in the guest and in the file.
 */
#include "block/format/qcow2/piece.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/range-lock.h"

enum {
    PIECE_BYTES_MAX = 4 << 20,
    PIECE_CLUSTERS_MAX = 256, /* each needs a journal record */
};
static_assert(PIECE_CLUSTERS_MAX + 1 <= JOURNAL_RESERVE_MAX, "records of a piece");

static void piece_assert_state(const struct qcow2 *q, const struct qcow2_piece *piece,
                               enum qcow2_piece_state state)
{
    (void)q, (void)piece, (void)state;
    assert(piece->state == state && piece->offset < piece->end);
    if (state != QCOW2_PIECE_MAPPED)
        return;
    assert(piece->fill_start <= piece->offset && piece->end <= piece->fill_end); /* P3 */
    assert(piece->fill_start >> q->cluster_bits == piece->range.first);          /* P1, P3 */
    assert((piece->fill_end - 1) >> q->cluster_bits == piece->range.last);       /* P1, P3 */
    assert(qcow2_range_is_locked(q, piece->range.first, piece->range.last));     /* P1 */
    assert(piece->reserved == piece->range.last - piece->range.first + 2);       /* P4 */
    assert(((piece->host ^ piece->fill_start) & (q->cluster_bytes - 1)) == 0);   /* P5 */
    assert(piece->is_new || piece->range.first == piece->range.last);
}

static uint64_t cluster_end(const struct qcow2 *q, uint64_t offset)
{
    return (offset | (q->cluster_bytes - 1)) + 1;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Whether the bytes [offset, end) of one cluster can be written in place, and *host: where. */
static int cluster_is_in_place(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                               uint64_t end, bool *in_place, uint64_t *host)
{
    int refused = qcow2_entry_check_change(q, entry, offset);
    if (refused)
        return refused;
    *in_place = entry.word & QCOW2_COPIED && !(entry.word & QCOW2_COMPRESSED);
    *host = 0;
    for (uint64_t at = offset; at < end; at = (at | (q->subcluster_bytes - 1)) + 1) {
        enum qcow2_kind kind;
        uint64_t place;
        int ret = qcow2_entry_kind(q, entry, at, &kind, &place);
        if (ret)
            return qcow2_corrupt(q, "impossible L2 entry for guest", at);
        if (at == offset)
            *host = place;
        *in_place &= kind == QCOW2_DATA;
    }
    return 0;
}

/* Extends the piece over the clusters that can be written in place and follow it in the file. */
static int piece_extend_in_place(struct qcow2 *q, struct qcow2_piece *piece, uint64_t end)
{
    while (piece->end < end) {
        struct qcow2_entry entry;
        uint64_t next_end = min_u64(end, cluster_end(q, piece->end)), host;
        bool in_place;
        int ret = qcow2_entry_get(q, piece->end, &entry);
        if (ret == 0)
            ret = cluster_is_in_place(q, entry, piece->end, next_end, &in_place, &host);
        if (ret)
            return ret;
        if (!in_place || host != piece->host + (piece->end - piece->offset))
            break;
        piece->end = next_end;
    }
    uint64_t first = piece->host >> q->cluster_bits;
    uint64_t last = (piece->host + (piece->end - piece->offset) - 1) >> q->cluster_bits;
    if (qcow2_metadata_has(q, first, last - first + 1))
        return qcow2_corrupt(q, "guest data lie over metadata", piece->host);
    piece->state = QCOW2_PIECE_IN_PLACE;
    return 0;
}

/* Extends the piece over the clusters of the same L2 table that have no host cluster and are not
 * locked. */
static int piece_extend_unmapped(struct qcow2 *q, struct qcow2_piece *piece, uint64_t end)
{
    uint64_t table_bytes = q->cluster_bytes << q->l2_bits;
    uint64_t limit = (piece->offset | (table_bytes - 1)) + 1;
    limit = min_u64(limit, piece->offset + PIECE_BYTES_MAX);
    limit = min_u64(limit, ((piece->offset >> q->cluster_bits) + PIECE_CLUSTERS_MAX)
                               << q->cluster_bits);
    while (piece->end < end && piece->end < limit) {
        struct qcow2_entry entry;
        uint64_t cluster = piece->end >> q->cluster_bits;
        int ret = qcow2_entry_get(q, piece->end, &entry);
        if (ret)
            return ret;
        if (entry.word & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED) ||
            qcow2_range_is_locked(q, cluster, cluster))
            break;
        piece->end = min_u64(end, cluster_end(q, piece->end));
    }
    return 0;
}

/* Finds the parts of the first and last unit that the request does not cover: they must be filled.
 * A unit that is data of this cluster already is not touched, since others may be writing there. */
static int piece_find_fill(struct qcow2 *q, struct qcow2_piece *piece)
{
    uint64_t unit = piece->is_whole ? q->cluster_bytes : q->subcluster_bytes;
    enum qcow2_kind kind;
    uint64_t host;
    piece->fill_start = piece->offset - piece->offset % unit;
    piece->fill_end = (piece->end + unit - 1) / unit * unit;
    if (piece->is_new)
        return 0;
    int ret = qcow2_entry_kind(q, piece->old, piece->offset, &kind, &host);
    if (ret == 0 && kind == QCOW2_DATA)
        piece->fill_start = piece->offset;
    if (ret == 0)
        ret = qcow2_entry_kind(q, piece->old, piece->end - 1, &kind, &host);
    if (ret == 0 && kind == QCOW2_DATA)
        piece->fill_end = piece->end;
    return ret;
}

static int piece_reserve(struct qcow2 *q, struct qcow2_piece *piece, size_t records)
{
    int ret = qcow2_reserve(q, records);
    if (ret == 0)
        piece->reserved = records;
    return ret;
}

/* Releases the range lock and the journal records. */
static void piece_unlock(struct qcow2 *q, struct qcow2_piece *piece)
{
    journal_unreserve(q->node->journal, piece->reserved);
    qcow2_range_lock_end(q, &piece->range);
}

/* Decides whether clusters are allocated, how far the piece reaches, and which parts are filled. */
static int piece_plan(struct qcow2 *q, struct qcow2_piece *piece, uint64_t end)
{
    uint64_t old_host = qcow2_entry_host(piece->old);
    bool is_ours = old_host && piece->old.word & QCOW2_COPIED;
    /* A cluster of ours that lacks subclusters gets more of them; its zero flag (without them)
     * frees it. */
    piece->is_new = !(is_ours && q->has_extended_l2);
    piece->is_whole = piece->is_new && (old_host || piece->old.word & QCOW2_COMPRESSED);
    int ret = 0;
    if (piece->is_new && !piece->is_whole)
        ret = piece_extend_unmapped(q, piece, end);
    if (ret == 0)
        ret = piece_find_fill(q, piece);
    bool decompresses = piece->old.word & QCOW2_COMPRESSED &&
                        piece->fill_end - piece->fill_start > piece->end - piece->offset;
    if (ret == 0 && q->is_nonblocking && (decompresses || piece->end < end))
        return -EAGAIN; /* decompression, or the rest of the request, may take long */
    return ret;
}

/* The first cluster cannot be written in place: reserves and allocates. */
static int piece_map(struct qcow2 *q, struct qcow2_piece *piece, uint64_t end)
{
    uint64_t host = qcow2_entry_host(piece->old), first = piece->offset >> q->cluster_bits, cluster;
    int ret = piece_plan(q, piece, end);
    uint64_t count = ((piece->end - 1) >> q->cluster_bits) - first + 1;
    if (ret == 0)
        ret = piece_reserve(q, piece, count + 1);
    if (ret == 0)
        ret = qcow2_table_make_writable(q, piece->offset);
    if (ret == 0 && piece->is_new) {
        ret = qcow2_allocate(q, count, &cluster, &piece->is_fresh);
        host = ret ? 0 : cluster << q->cluster_bits;
    } else if (ret == 0 && qcow2_metadata_has(q, host >> q->cluster_bits, 1)) {
        ret = qcow2_corrupt(q, "guest data lie over metadata", host);
    }
    if (ret)
        return ret;
    piece->host = host + (piece->fill_start - (first << q->cluster_bits));
    qcow2_range_lock_extend(q, &piece->range, first + count - 1);
    piece->state = QCOW2_PIECE_MAPPED;
    return 0;
}

static int piece_begin_locked(struct qcow2 *q, struct qcow2_piece *piece, uint64_t offset,
                              uint64_t end)
{
    *piece = (struct qcow2_piece){.offset = offset, .end = min_u64(end, cluster_end(q, offset))};
    piece->range.first = piece->range.last = offset >> q->cluster_bits;
    assert(offset < end);
    if (q->is_corrupt)
        return -EIO;
    bool in_place;
    qcow2_range_lock_begin(q, &piece->range);
    int ret = qcow2_entry_get(q, offset, &piece->old);
    if (ret == 0)
        ret = cluster_is_in_place(q, piece->old, offset, piece->end, &in_place, &piece->host);
    if (ret == 0)
        ret = in_place ? piece_extend_in_place(q, piece, end) : piece_map(q, piece, end);
    if (ret || in_place)
        piece_unlock(q, piece);
    else
        piece_assert_state(q, piece, QCOW2_PIECE_MAPPED);
    return ret;
}

int qcow2_piece_begin(struct qcow2 *q, struct qcow2_piece *piece, uint64_t offset, uint64_t end)
{
    LOCK_GUARD(&q->lock);
    return piece_begin_locked(q, piece, offset, end);
}

/* Whether the whole range can be written in place, as far as is known without waiting. Lock
 * held. */
static bool range_is_in_place(struct qcow2 *q, uint64_t offset, uint64_t end)
{
    bool in_place = true;
    while (in_place && offset < end) {
        struct qcow2_entry entry;
        uint64_t next = min_u64(end, cluster_end(q, offset)), host;
        if (qcow2_range_is_locked(q, offset >> q->cluster_bits, offset >> q->cluster_bits) ||
            qcow2_entry_get(q, offset, &entry) != 0 ||
            cluster_is_in_place(q, entry, offset, next, &in_place, &host) != 0)
            return false;
        offset = next;
    }
    return in_place;
}

int qcow2_piece_begin_cached(struct qcow2 *q, struct qcow2_piece *piece, uint64_t offset,
                             uint64_t end)
{
    uint64_t first = offset >> q->cluster_bits;
    int ret = qcow2_lock(q, MAP_CACHED);
    if (ret)
        return ret;
    ret = -EAGAIN;
    if (!qcow2_range_is_locked(q, first, first))
        ret = piece_begin_locked(q, piece, offset, end);
    if (ret == 0 && piece->state == QCOW2_PIECE_IN_PLACE && !range_is_in_place(q, piece->end, end))
        ret = -EAGAIN;
    qcow2_unlock(q);
    return ret == NODE_NEEDS_ROOM ? -EAGAIN : ret;
}

/* The bits of the subclusters of the cluster at `start` that the piece writes. */
static uint64_t piece_bits(const struct qcow2 *q, const struct qcow2_piece *piece, uint64_t start)
{
    uint64_t from = piece->fill_start > start ? piece->fill_start - start : 0;
    uint64_t to = min_u64(piece->fill_end - start, q->cluster_bytes);
    uint64_t first = from / q->subcluster_bytes;
    uint64_t last = (to - 1) / q->subcluster_bytes;
    return (QCOW2_BITMAP_ALL >> (31 - (last - first))) << first & QCOW2_BITMAP_ALL;
}

/* Points the entries at the piece's clusters, and queues what they held for release. */
static int piece_set_entries(struct qcow2 *q, const struct qcow2_piece *piece)
{
    uint64_t start = piece->range.first << q->cluster_bits;
    uint64_t host = (piece->host - (piece->fill_start - start));
    for (uint64_t i = 0; i <= piece->range.last - piece->range.first; i++) {
        uint64_t at = start + (i << q->cluster_bits);
        struct qcow2_entry old, entry = {.word = (host + (i << q->cluster_bits)) | QCOW2_COPIED};
        int ret = qcow2_entry_get(q, at, &old);
        if (ret)
            return ret;
        if (q->has_extended_l2) {
            uint64_t bits = piece_bits(q, piece, at);
            entry.bitmap = (old.bitmap | bits) & ~(bits << 32);
        }
        ret = qcow2_entry_set(q, at, entry);
        if (ret == 0 && piece->is_whole)
            ret = qcow2_entry_release(q, old);
        if (ret)
            return ret;
    }
    return 0;
}

int qcow2_piece_end(struct qcow2 *q, struct qcow2_piece *piece, int ret)
{
    LOCK_GUARD(&q->lock);
    piece_assert_state(q, piece, QCOW2_PIECE_MAPPED);
    if (ret == 0)
        ret = piece_set_entries(q, piece);
    else if (piece->is_new)
        qcow2_unallocate(q, piece->host >> q->cluster_bits,
                         piece->range.last - piece->range.first + 1);
    piece_unlock(q, piece);
    piece->state = QCOW2_PIECE_ENDED;
    return ret;
}
