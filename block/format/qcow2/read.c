/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapping: one extent is subclusters that follow one another, of one kind and, if data, in one piece in the file. One look
 * ends where the slice of the L2 table does, or with the absent tables that follow one another: so it reads at most one
 * slice, looks at no more than its entries, and holds the lock no longer than that takes. Who wants more asks again.
 * Reading, for compressed clusters: they are unpacked whole.
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

/* Whether all of the next cluster is as all of the one before it was, whose kind is given: what most entries are, told
 * without a look at each subcluster. */
static bool entry_continues(const struct qcow2 *q, enum qcow2_kind kind, struct qcow2_entry before,
                            struct qcow2_entry entry)
{
    static const uint64_t whole[] = {[QCOW2_UNALLOCATED] = 0,
                                     [QCOW2_ZEROS] = QCOW2_BITMAP_ALL << 32,
                                     [QCOW2_DATA] = QCOW2_BITMAP_ALL};
    if (kind == QCOW2_DATA_COMPRESSED || entry.word & (QCOW2_COMPRESSED | QCOW2_L2_RESERVED))
        return false;
    if (q->has_extended_l2 && (entry.bitmap != before.bitmap || entry.bitmap != whole[kind]))
        return false;
    return entry.word == before.word + (kind == QCOW2_DATA ? q->cluster_bytes : 0);
}

/* Goes on with the subclusters of one cluster, from *done on; false: the extent ends there. */
static bool extent_grow(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                        enum qcow2_kind first, const struct extent *extent, uint64_t *done)
{
    do {
        enum qcow2_kind kind;
        uint64_t host;
        if (qcow2_entry_kind(q, entry, offset + *done, &kind, &host) != 0)
            return false; /* the next look meets it */
        if (kind != first || kind == QCOW2_DATA_COMPRESSED ||
            (kind == QCOW2_DATA && host != extent->host + *done))
            return false;
        *done += unit_left(q, kind, offset + *done);
    } while ((offset + *done) % q->cluster_bytes);
    return true;
}

/* What lies at `offset`, and how far one look at the tables says that it reaches. Lock held. */
static int extent_find(struct qcow2 *q, uint64_t offset, enum qcow2_kind *first,
                       struct extent *extent)
{
    uint64_t limit = extent->length, told, done;
    const uint64_t *words;
    int ret = qcow2_entries_get(q, offset, &words, &told);
    if (ret)
        return ret;
    if (limit > told)
        limit = extent->length = told;
    *first = QCOW2_UNALLOCATED;
    if (!words)
        return 0;
    struct qcow2_entry before, entry = qcow2_entry_decode(q, words);
    ret = qcow2_entry_kind(q, entry, offset, first, &extent->host);
    if (ret)
        return ret;
    done = unit_left(q, *first, offset);
    bool goes_on = (offset + done) % q->cluster_bytes == 0 ||
                   extent_grow(q, entry, offset, *first, extent, &done);
    while (goes_on && done < limit) {
        words += q->l2_entry_bytes / sizeof(*words);
        before = entry;
        entry = qcow2_entry_decode(q, words);
        if (entry_continues(q, *first, before, entry))
            done += q->cluster_bytes;
        else
            goes_on = extent_grow(q, entry, offset, *first, extent, &done);
    }
    extent->length = done < limit ? done : limit;
    return 0;
}

int qcow2_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    struct qcow2 *q = node->state;
    enum qcow2_kind kind = QCOW2_UNALLOCATED;
    int ret = qcow2_lock(q, flags);
    if (ret)
        return ret;
    ret = extent_find(q, offset, &kind, extent);
    qcow2_unlock(q);
    extent->kind = kind == QCOW2_UNALLOCATED ? EXTENT_BACKING
                   : kind == QCOW2_ZEROS     ? EXTENT_ZERO
                                             : EXTENT_DATA;
    if (kind == QCOW2_DATA_COMPRESSED)
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

/* One unit; what it is may have changed since it was mapped, by a request under way at the same time. */
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
