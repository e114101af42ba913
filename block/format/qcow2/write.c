/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing, piece by piece (piece.c).
 *
 * A cached write waits for no lock, table, range lock or old content. That is decided at its first
 * piece, before anything is written, since a request is on one side of every cut: the piece is the
 * whole request, or the rest is in place. Once it writes it finishes, even if it has to wait after
 * all: for the lock when the entries change, or since a discard removed a cluster that was in
 * place. Only if that discard left no room either is the request refused with a part of it written;
 * it is not acknowledged, and is repeated as a whole.
 *
 * Of many ranges the pieces that follow each other in the file are written at once: their data
 * first, then the entries of each. Their range locks are held together, in ascending order.
 */
#include "block/format/qcow2/write.h"

#include "block/format/qcow2/piece.h"
#include "block/format/qcow2/read.h"

#include <sys/uio.h>

/* Reads the old content; *is_zero: it is all zeros. `flags`: MAP_CACHED for the data; the entries
 * are cached already. */
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

/* Writes the old content around `buf`, unless it is zeros and the file has a hole there. */
static int vector_write_piece(int fd, const struct qcow2_piece *piece, void *buf,
                              unsigned char *old, bool skip_head, bool skip_tail)
{
    uint64_t head = piece->offset - piece->fill_start, tail = piece->fill_end - piece->end;
    struct iovec vector[3];
    int count = 0;
    if (head && !skip_head)
        vector[count++] = (struct iovec){old, head};
    vector[count++] = (struct iovec){buf, piece->end - piece->offset};
    if (tail && !skip_tail)
        vector[count++] = (struct iovec){old + head, tail};
    return vector_write(fd, vector, count, piece->host + (skip_head ? head : 0));
}

/* Writes the piece's units: old content, the request's bytes, old content. */
static int piece_write_mapped(struct node *node, const struct qcow2_piece *piece, const void *buf,
                              unsigned flags)
{
    struct qcow2 *q = node->state;
    uint64_t head = piece->offset - piece->fill_start, tail = piece->fill_end - piece->end;
    if (head + tail == 0)
        return node_write_data(node, buf, piece->host, piece->end - piece->offset, flags);
    bool no_head = true, no_tail = true;
    CLEANUP_FREE unsigned char *old = malloc(head + tail);
    if (!old)
        return -ENOMEM;
    int ret = old_read(node, old, piece->fill_start, head, flags, &no_head);
    if (ret == 0)
        ret = old_read(node, old + head, piece->end, tail, flags, &no_tail);
    if (ret)
        return ret;
    return vector_write_piece(q->fd, piece, (void *)buf, old, piece->is_fresh && no_head,
                              piece->is_fresh && no_tail);
}

/* `flags`: WRITE_DIRECT; MAP_CACHED: -EAGAIN rather than wait for the old content; then nothing is
 * written. */
static int piece_write(struct node *node, struct qcow2_piece *piece, const void *buf,
                       unsigned flags)
{
    struct qcow2 *q = node->state;
    if (piece->state == QCOW2_PIECE_IN_PLACE)
        return node_write_data(node, buf, piece->host, piece->end - piece->offset, flags);
    return qcow2_piece_end(q, piece, piece_write_mapped(node, piece, buf, flags));
}

static int write_held(struct node *node, const void *data, uint64_t offset, uint64_t length,
                      unsigned flags)
{
    const char *buf = data;
    struct qcow2 *q = node->state;
    uint64_t end = offset + length;
    while (offset < end) {
        struct qcow2_piece piece;
        int ret = qcow2_piece_begin(q, &piece, offset, end);
        if (ret == 0)
            ret = piece_write(node, &piece, buf, flags);
        if (ret)
            return ret;
        buf += piece.end - offset;
        offset = piece.end;
    }
    return 0;
}

int qcow2_write_held(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    return write_held(node, buf, offset, length, 0);
}

static int write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    struct qcow2_piece piece;
    uint64_t end = offset + length;
    if (pthread_rwlock_tryrdlock(&node->io_lock) != 0)
        return -EAGAIN;
    int ret = qcow2_piece_begin_cached(node->state, &piece, offset, end);
    if (ret == 0)
        ret = piece_write(node, &piece, buf, MAP_CACHED);
    if (ret == 0)
        ret = write_held(node, (const char *)buf + (piece.end - offset), piece.end, end - piece.end,
                         0);
    pthread_rwlock_unlock(&node->io_lock);
    return ret == NODE_NEEDS_ROOM ? -EAGAIN : ret;
}

int qcow2_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                unsigned flags)
{
    if (flags & WRITE_CACHED)
        return write_cached(node, buf, offset, length);
    pthread_rwlock_rdlock(&node->io_lock);
    int ret = write_held(node, buf, offset, length, flags);
    pthread_rwlock_unlock(&node->io_lock);
    return ret;
}

/* ---- many ranges ---- */

enum { PIECES_MAX = 32 };

/* Pieces that need no old content, before their data are written. */
struct gathered {
    size_t count;
    struct qcow2_piece pieces[PIECES_MAX];
    const char *data[PIECES_MAX];
};

static uint64_t piece_bytes(const struct qcow2_piece *piece)
{
    return piece->end - piece->offset;
}

/* From the piece `first` on, those that follow each other in memory and in the file. */
static int gathered_write_run(struct node *node, const struct gathered *gathered, size_t first,
                              size_t *next, unsigned flags)
{
    const struct qcow2_piece *pieces = gathered->pieces;
    uint64_t length = piece_bytes(&pieces[first]);
    size_t i = first + 1;
    for (; i < gathered->count && pieces[i].host == pieces[first].host + length &&
           gathered->data[i] == gathered->data[first] + length;
         i++)
        length += piece_bytes(&pieces[i]);
    *next = i;
    return node_write_data(node, gathered->data[first], pieces[first].host, length, flags);
}

/* Writes what was gathered, and forgets it. */
static int gathered_write(struct node *node, struct gathered *gathered, unsigned flags)
{
    int ret = 0;
    for (size_t i = 0; i < gathered->count && ret == 0;)
        ret = gathered_write_run(node, gathered, i, &i, flags);
    for (size_t i = 0; i < gathered->count; i++) {
        struct qcow2_piece *piece = &gathered->pieces[i];
        int ended =
            piece->state == QCOW2_PIECE_MAPPED ? qcow2_piece_end(node->state, piece, ret) : 0;
        ret = ret ? ret : ended;
    }
    gathered->count = 0;
    return ret;
}

/* Whether a piece from `offset` on would wait for the range lock of a gathered one. */
static bool gathered_has_cluster(const struct qcow2 *q, const struct gathered *gathered,
                                 uint64_t offset)
{
    size_t count = gathered->count;
    return count > 0 &&
           (gathered->pieces[count - 1].end - 1) >> q->cluster_bits == offset >> q->cluster_bits;
}

/* The next piece of [offset, end) is gathered, or written. */
static int gathered_add(struct node *node, struct gathered *gathered, const char *data,
                        uint64_t *offset, uint64_t end, unsigned flags)
{
    struct qcow2 *q = node->state;
    int ret = 0;
    if (gathered->count == PIECES_MAX || gathered_has_cluster(q, gathered, *offset))
        ret = gathered_write(node, gathered, flags);
    struct qcow2_piece *piece = &gathered->pieces[gathered->count];
    if (ret == 0)
        ret = qcow2_piece_begin(q, piece, *offset, end);
    if (ret)
        return ret;
    *offset = piece->end;
    if (piece->state == QCOW2_PIECE_MAPPED &&
        piece->fill_end - piece->fill_start != piece_bytes(piece))
        return piece_write(node, piece, data, flags);
    gathered->data[gathered->count++] = data;
    return 0;
}

int qcow2_write_many(struct node *node, const void *buf, const struct disk_range *ranges,
                     size_t count, unsigned flags)
{
    struct gathered gathered = {.count = 0};
    const char *data = buf;
    int ret = 0;
    pthread_rwlock_rdlock(&node->io_lock);
    for (size_t i = 0; i < count && ret == 0; data += ranges[i++].length) {
        const uint64_t end = ranges[i].offset + ranges[i].length;
        for (uint64_t at = ranges[i].offset; at < end && ret == 0;)
            ret = gathered_add(node, &gathered, data + (at - ranges[i].offset), &at, end, flags);
    }
    int written = gathered_write(node, &gathered, flags);
    pthread_rwlock_unlock(&node->io_lock);
    return ret ? ret : written;
}
