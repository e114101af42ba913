/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing. A request is cut into pieces of two sorts:
 *
 *   in place    all it touches is data of our own, in one piece in the file: written there, no table changes
 *   mapped      anything else: clusters are allocated (or, with extended L2, more subclusters of one that is there),
 *               what the request leaves of them is filled with the old content, and only when all that is in the
 *               file the entries change, in memory
 *
 * A mapped piece claims its guest clusters from its look at the tables until its entries are changed; other mapped
 * pieces, zeroes and discards of these clusters wait. Pieces in place need no claim: the entries they rely on are
 * changed by nobody but zero and discard, and what those let go is not reused while we hold io_lock.
 *
 * A cached write waits for no lock, table or claim, nor for what it fills with. That is decided at its first piece, before
 * anything is written, since a request is on one side of every cut: the piece must be all of it, or what follows must be
 * in place. Once it writes it ends, even if something has come up meanwhile that it has to wait for: who has the lock
 * when the entries are changed, or a discard of what was in place. Only if that discard left no room either, the request
 * is turned away with a part of it written; it is not acknowledged, and comes again whole.
 *
 *     |----------- unit -----------|----------- unit -----------|      unit: subcluster, or cluster if the old
 *     fill_start      offset .............. end          fill_end             content must move as a whole
 *     [  old content ][       the request's      ][ old content ]
 */
#include "block/format/qcow2/write.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/range-lock.h"
#include "block/format/qcow2/read.h"

#include <sys/uio.h>

enum {
    PIECE_BYTES_MAX = 4 << 20,
    PIECE_CLUSTERS_MAX = 1024, /* each needs a record in the journal */
};

/* ---- pieces ---- */

struct piece {
    struct qcow2_range_lock claim; /* mapped pieces */
    uint64_t offset, end;          /* in the guest */
    uint64_t host;                 /* of `offset` if in place, else of fill_start */
    bool is_in_place;
    bool is_new;   /* clusters were allocated for it */
    bool is_fresh; /* and they read as zeros */
    bool is_whole; /* the old content of the cluster moves along */
    uint64_t fill_start, fill_end;
    size_t reserved;        /* records in the journal */
    struct qcow2_entry old; /* of the first cluster */
};

static uint64_t cluster_end(const struct qcow2 *q, uint64_t offset)
{
    return (offset | (q->cluster_bytes - 1)) + 1;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How the bytes from `offset` to `end`, in one cluster, can be written: true if in place, then *host is where. */
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

/* Makes the piece as long as its neighbours can be written in place right behind it. */
static int piece_extend_in_place(struct qcow2 *q, struct piece *piece, uint64_t end)
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
    return 0;
}

/* Makes the piece as long as its neighbours have no host cluster either, in the same L2 table, nobody's claim. */
static int piece_extend_unmapped(struct qcow2 *q, struct piece *piece, uint64_t end)
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

/* What of the piece's first and last unit the request leaves and must be filled. A unit of ours that is data already
 * is not touched: others may be writing there. */
static int piece_find_fill(struct qcow2 *q, struct piece *piece)
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

static int piece_reserve(struct qcow2 *q, struct piece *piece, size_t records)
{
    int ret = qcow2_reserve(q, records);
    if (ret == 0)
        piece->reserved = records;
    return ret;
}

/* The claim's end, and what goes with it. */
static void piece_let_go(struct qcow2 *q, struct piece *piece)
{
    journal_unreserve(q->node->journal, piece->reserved);
    qcow2_range_lock_end(q, &piece->claim);
}

/* The first cluster cannot be written in place: decides what is allocated. */
static int piece_map(struct qcow2 *q, struct piece *piece, uint64_t end)
{
    uint64_t old_host = qcow2_entry_host(piece->old), cluster;
    bool is_ours = old_host && piece->old.word & QCOW2_COPIED;
    /* A cluster of ours that lacks subclusters gets more of them; its zero flag (without them) frees it. */
    piece->is_new = !(is_ours && q->has_extended_l2);
    piece->is_whole = piece->is_new && (old_host || piece->old.word & QCOW2_COMPRESSED);
    int ret = 0;
    if (piece->is_new && !piece->is_whole)
        ret = piece_extend_unmapped(q, piece, end);
    if (ret == 0)
        ret = piece_find_fill(q, piece);
    bool is_packed = piece->old.word & QCOW2_COMPRESSED &&
                     piece->fill_end - piece->fill_start > piece->end - piece->offset;
    if (ret == 0 && q->is_nonblocking && (is_packed || piece->end < end))
        ret = -EAGAIN; /* to unpack, or what follows, may take long */
    uint64_t first = piece->offset >> q->cluster_bits;
    uint64_t count = ((piece->end - 1) >> q->cluster_bits) - first + 1;
    if (ret == 0)
        ret = piece_reserve(q, piece, count + 1);
    if (ret == 0)
        ret = qcow2_table_make_writable(q, piece->offset);
    if (ret)
        return ret;
    if (piece->is_new) {
        ret = qcow2_allocate(q, count, &cluster, &piece->is_fresh);
        if (ret)
            return ret;
        old_host = cluster << q->cluster_bits;
    } else if (qcow2_metadata_has(q, old_host >> q->cluster_bits, 1))
        return qcow2_corrupt(q, "guest data lie over metadata", old_host);
    piece->host = old_host + (piece->fill_start - (first << q->cluster_bits));
    return 0;
}

/* Looks at the tables: what the next piece of [offset, end) is. Afterwards a mapped one is claimed. NODE_NEEDS_ROOM if
 * it cannot be mapped before a flush. Lock held. */
static int piece_begin_locked(struct qcow2 *q, struct piece *piece, uint64_t offset, uint64_t end)
{
    *piece = (struct piece){.offset = offset, .end = min_u64(end, cluster_end(q, offset))};
    piece->claim.first = piece->claim.last = offset >> q->cluster_bits;
    if (q->is_corrupt)
        return -EIO;
    qcow2_range_lock_begin(q, &piece->claim);
    int ret = qcow2_entry_get(q, offset, &piece->old);
    if (ret == 0)
        ret = cluster_is_in_place(q, piece->old, offset, piece->end, &piece->is_in_place,
                                  &piece->host);
    if (ret == 0)
        ret = piece->is_in_place ? piece_extend_in_place(q, piece, end) : piece_map(q, piece, end);
    piece->claim.last = (piece->end - 1) >> q->cluster_bits;
    if (ret || piece->is_in_place)
        piece_let_go(q, piece);
    return ret;
}

static int piece_begin(struct qcow2 *q, struct piece *piece, uint64_t offset, uint64_t end)
{
    LOCK_GUARD(&q->lock);
    return piece_begin_locked(q, piece, offset, end);
}

/* Whether all of the range is written in place, as far as is known without waiting. Lock held. */
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

/* The same if the request waits for nothing: its first piece is all of it, or what follows is in place. Else -EAGAIN. */
static int piece_begin_cached(struct qcow2 *q, struct piece *piece, uint64_t offset, uint64_t end)
{
    uint64_t first = offset >> q->cluster_bits;
    int ret = qcow2_lock(q, MAP_CACHED);
    if (ret)
        return ret;
    ret = -EAGAIN;
    if (!qcow2_range_is_locked(q, first, first))
        ret = piece_begin_locked(q, piece, offset, end);
    if (ret == 0 && piece->is_in_place && !range_is_in_place(q, piece->end, end))
        ret = -EAGAIN;
    qcow2_unlock(q);
    return ret == NODE_NEEDS_ROOM ? -EAGAIN : ret;
}

/* ---- filling ---- */

/* Reads the old content; *is_zero if it is known to be zeros, then `buf` was not touched. `flags`: MAP_CACHED
 * for the data; the entries were looked at just now. */
static int old_read(struct node *node, unsigned char *buf, uint64_t offset, uint64_t length,
                    unsigned flags, bool *is_zero)
{
    struct qcow2 *q = node->state;
    *is_zero = true;
    for (uint64_t done = 0; done < length;) {
        struct extent extent = {.length = length - done};
        int ret = qcow2_map(node, offset + done, 0, &extent);
        if (ret)
            return ret;
        if (extent.kind == EXTENT_ZERO || (extent.kind == EXTENT_BACKING && !q->has_backing)) {
            memset(buf + done, 0, extent.length);
        } else {
            *is_zero = false;
            ret = extent.kind == EXTENT_BACKING
                      ? node_read_backing(node, buf + done, offset + done, extent.length, flags)
                      : node_read_data(node, buf + done, offset + done, flags, &extent);
        }
        if (ret)
            return ret;
        done += extent.length;
    }
    return 0;
}

static int vector_write(int fd, struct iovec *vector, int count, uint64_t offset)
{
    while (count) {
        ssize_t n = pwritev(fd, vector, count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        offset += (uint64_t)n;
        for (; count && (size_t)n >= vector->iov_len; vector++, count--)
            n -= (ssize_t)vector->iov_len;
        if (count) {
            vector->iov_base = (char *)vector->iov_base + n;
            vector->iov_len -= (size_t)n;
        }
    }
    return 0;
}

/* Puts the piece's units into the file: old content before, the request's bytes, old content behind. */
static int piece_write_mapped(struct node *node, const struct piece *piece, const void *buf,
                              unsigned flags)
{
    struct qcow2 *q = node->state;
    uint64_t head = piece->offset - piece->fill_start, tail = piece->fill_end - piece->end;
    if (head + tail == 0)
        return file_write(q->fd, buf, piece->host, piece->end - piece->offset);
    bool no_head = true, no_tail = true;
    CLEANUP_FREE unsigned char *old = malloc(head + tail);
    if (!old)
        return -ENOMEM;
    int ret = old_read(node, old, piece->fill_start, head, flags, &no_head);
    if (ret == 0)
        ret = old_read(node, old + head, piece->end, tail, flags, &no_tail);
    if (ret)
        return ret;
    /* Zeros need not be written where the file has a hole. */
    bool skip_head = no_head && piece->is_fresh, skip_tail = no_tail && piece->is_fresh;
    struct iovec vector[3];
    int count = 0;
    if (head && !skip_head)
        vector[count++] = (struct iovec){old, head};
    vector[count++] = (struct iovec){(void *)buf, piece->end - piece->offset};
    if (tail && !skip_tail)
        vector[count++] = (struct iovec){old + head, tail};
    return vector_write(q->fd, vector, count, piece->host + (skip_head ? head : 0));
}

/* ---- entries ---- */

/* The bits of the subclusters of the cluster at `start` that lie in the piece's units. */
static uint64_t piece_bits(const struct qcow2 *q, const struct piece *piece, uint64_t start)
{
    uint64_t from = piece->fill_start > start ? piece->fill_start - start : 0;
    uint64_t to = min_u64(piece->fill_end - start, q->cluster_bytes);
    uint64_t first = from / q->subcluster_bytes;
    uint64_t last = (to - 1) / q->subcluster_bytes;
    return (QCOW2_BITMAP_ALL >> (31 - (last - first))) << first & QCOW2_BITMAP_ALL;
}

static int piece_set_entries(struct qcow2 *q, const struct piece *piece)
{
    uint64_t start = piece->claim.first << q->cluster_bits;
    uint64_t host = (piece->host - (piece->fill_start - start));
    for (uint64_t i = 0; i <= piece->claim.last - piece->claim.first; i++) {
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

static int piece_end(struct qcow2 *q, struct piece *piece, int ret)
{
    LOCK_GUARD(&q->lock);
    if (ret == 0)
        ret = piece_set_entries(q, piece);
    else if (piece->is_new)
        qcow2_unallocate(q, piece->host >> q->cluster_bits,
                         piece->claim.last - piece->claim.first + 1);
    piece_let_go(q, piece);
    return ret;
}

/* `flags`: MAP_CACHED: -EAGAIN rather than wait for what it is filled with; then nothing is written. */
static int piece_write(struct node *node, struct piece *piece, const void *buf, unsigned flags)
{
    struct qcow2 *q = node->state;
    if (piece->is_in_place)
        return file_write(q->fd, buf, piece->host, piece->end - piece->offset);
    return piece_end(q, piece, piece_write_mapped(node, piece, buf, flags));
}

int qcow2_write_held(struct node *node, const void *data, uint64_t offset, uint64_t length)
{
    const char *buf = data;
    struct qcow2 *q = node->state;
    uint64_t end = offset + length;
    while (offset < end) {
        struct piece piece;
        int ret = piece_begin(q, &piece, offset, end);
        if (ret == 0)
            ret = piece_write(node, &piece, buf, 0);
        if (ret)
            return ret;
        buf += piece.end - offset;
        offset = piece.end;
    }
    return 0;
}

int qcow2_write(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    pthread_rwlock_rdlock(&node->io_lock);
    int ret = qcow2_write_held(node, buf, offset, length);
    pthread_rwlock_unlock(&node->io_lock);
    return ret;
}

int qcow2_write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    struct piece piece;
    uint64_t end = offset + length;
    if (pthread_rwlock_tryrdlock(&node->io_lock) != 0)
        return -EAGAIN;
    int ret = piece_begin_cached(node->state, &piece, offset, end);
    if (ret == 0)
        ret = piece_write(node, &piece, buf, MAP_CACHED);
    if (ret == 0)
        ret = qcow2_write_held(node, (const char *)buf + (piece.end - offset), piece.end,
                               end - piece.end);
    pthread_rwlock_unlock(&node->io_lock);
    return ret == NODE_NEEDS_ROOM ? -EAGAIN : ret;
}
