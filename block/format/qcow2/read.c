/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapping and reading.
 *
 * An extent is a run of subclusters of one kind that, if they are data, are adjacent in the file
 * (with MAP_HOLES, wherever they are). One look-up ends with the slice of the L2 table, or with a
 * run of absent tables: it reads at most one slice, examines no more than the entries of that
 * slice, and holds the lock no longer. Callers repeat it. Only compressed clusters are read here;
 * they are decompressed whole.
 */
#include "block/format/qcow2/read.h"

#include "block/format/qcow2/compressed.h"
#include "block/format/qcow2/l2.h"

/* How far from `offset` its subcluster, or whole compressed cluster, reaches. */
static uint64_t unit_left(const struct qcow2 *q, enum qcow2_kind kind, uint64_t offset)
{
    uint64_t unit = kind == QCOW2_DATA_COMPRESSED ? q->cluster_bytes : q->subcluster_bytes;
    return unit - offset % unit;
}

/* What a look-up extends: `by_kind`, also over data that are not adjacent in the file. */
struct extension {
    enum qcow2_kind kind;
    bool by_kind;
    uint64_t host; /* of the first byte */
};

/* Whether the next cluster continues the extent as a whole: true of most entries, and found without
 * a look at each subcluster. All of the cluster before is of the extent's kind. */
static bool entry_continues(struct qcow2 *q, const struct extension *extension,
                            struct qcow2_entry before, struct qcow2_entry entry)
{
    static const uint64_t whole[] = {[QCOW2_UNALLOCATED] = 0,
                                     [QCOW2_ZEROS] = QCOW2_BITMAP_ALL << 32,
                                     [QCOW2_DATA] = QCOW2_BITMAP_ALL};
    enum qcow2_kind kind = extension->kind, next;
    uint64_t host;
    if (kind == QCOW2_DATA_COMPRESSED || entry.word & (QCOW2_COMPRESSED | QCOW2_L2_RESERVED))
        return false;
    if (q->has_extended_l2 && (entry.bitmap != before.bitmap || entry.bitmap != whole[kind]))
        return false;
    if (entry.word == before.word + (kind == QCOW2_DATA ? q->cluster_bytes : 0))
        return true;
    return extension->by_kind && qcow2_entry_kind(q, entry, 0, &next, &host) == 0 && next == kind;
}

/* Extends the extent over the subclusters of one cluster, from *done on; false: it ends there. */
static bool extent_grow(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                        const struct extension *extension, uint64_t *done)
{
    do {
        enum qcow2_kind kind;
        uint64_t host;
        if (qcow2_entry_kind(q, entry, offset + *done, &kind, &host) != 0)
            return false; /* the next look-up reports it */
        if (kind != extension->kind)
            return false;
        if (!extension->by_kind && (kind == QCOW2_DATA_COMPRESSED ||
                                    (kind == QCOW2_DATA && host != extension->host + *done)))
            return false;
        *done += unit_left(q, kind, offset + *done);
    } while ((offset + *done) % q->cluster_bytes);
    return true;
}

/* Extends the extent from the first unit over the entries from `words` on, up to `limit` bytes. */
static void extent_extend(struct qcow2 *q, const uint64_t *words, uint64_t offset,
                          const struct extension *extension, struct extent *extent)
{
    struct qcow2_entry before, entry = qcow2_entry_decode(q, words);
    uint64_t limit = extent->length, done = unit_left(q, extension->kind, offset);
    bool goes_on =
        (offset + done) % q->cluster_bytes == 0 || extent_grow(q, entry, offset, extension, &done);
    while (goes_on && done < limit) {
        words += q->l2_entry_bytes / sizeof(*words);
        before = entry;
        entry = qcow2_entry_decode(q, words);
        if (entry_continues(q, extension, before, entry))
            done += q->cluster_bytes;
        else
            goes_on = extent_grow(q, entry, offset, extension, &done);
    }
    extent->length = done < limit ? done : limit;
    assert(extent->length > 0);
}

/* Returns the extent at `offset`, as far as one look-up shows. Lock held. */
static int extent_find(struct qcow2 *q, uint64_t offset, struct extension *extension,
                       struct extent *extent)
{
    uint64_t covered;
    const uint64_t *words;
    int ret = qcow2_entries_get(q, offset, &words, &covered);
    if (ret)
        return ret;
    if (extent->length > covered)
        extent->length = covered;
    if (words)
        ret = qcow2_entry_kind(q, qcow2_entry_decode(q, words), offset, &extension->kind,
                               &extension->host);
    if (words && ret == 0)
        extent_extend(q, words, offset, extension, extent);
    extent->host = extension->host;
    return ret;
}

int qcow2_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    struct qcow2 *q = node->state;
    struct extension extension = {.kind = QCOW2_UNALLOCATED, .by_kind = flags & MAP_HOLES};
    int ret = qcow2_lock(q, flags);
    if (ret)
        return ret;
    ret = extent_find(q, offset, &extension, extent);
    qcow2_unlock(q);
    extent->kind = extension.kind == QCOW2_UNALLOCATED ? EXTENT_BACKING
                   : extension.kind == QCOW2_ZEROS     ? EXTENT_ZERO
                                                       : EXTENT_DATA;
    if (extension.kind == QCOW2_DATA_COMPRESSED)
        extent->host = EXTENT_NO_HOST;
    return ret;
}

static int compressed_read(const struct qcow2 *q, void *buf, uint64_t word, uint64_t offset,
                           uint64_t length)
{
    CLEANUP_FREE unsigned char *cluster = malloc(q->cluster_bytes);
    if (!cluster)
        return -ENOMEM;
    int ret = qcow2_compressed_read(q, word, cluster);
    if (ret == 0)
        memcpy(buf, cluster + offset % q->cluster_bytes, length);
    return ret;
}

/* Reads from one unit. A concurrent request may have changed it since it was mapped. */
static int unit_read(struct qcow2 *q, void *buf, uint64_t offset, uint64_t *length)
{
    struct qcow2_entry entry;
    enum qcow2_kind kind;
    uint64_t host;
    pthread_mutex_lock(&q->lock);
    int ret = qcow2_entry_get(q, offset, &entry);
    if (ret == 0)
        ret = qcow2_entry_kind(q, entry, offset, &kind, &host);
    pthread_mutex_unlock(&q->lock);
    if (ret)
        return ret;
    uint64_t left = unit_left(q, kind, offset);
    if (*length > left)
        *length = left;
    if (kind == QCOW2_DATA_COMPRESSED)
        return compressed_read(q, buf, entry.word, offset, *length);
    if (kind == QCOW2_DATA)
        return file_read_padded(q->fd, buf, host, *length);
    memset(buf, 0, *length);
    return 0;
}

int qcow2_read(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t done = 0, n; done < length; done += n) {
        n = length - done;
        int ret = unit_read(node->state, (char *)buf + done, offset + done, &n);
        if (ret)
            return ret;
    }
    return 0;
}
