/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapping: one extent is subclusters that follow one another, of one kind and, if data, in one piece in the file.
 * Reading, for compressed clusters: they are unpacked whole.
 */
#include "block/format/qcow2.h"

/* How far from `offset` its subcluster, or whole compressed cluster, reaches. */
static uint64_t unit_left(const struct qcow2 *q, enum qcow2_kind kind, uint64_t offset)
{
    uint64_t unit = kind == QCOW2_PACKED ? q->cluster_bytes : q->subcluster_bytes;
    return unit - offset % unit;
}

/* What lies at `offset`, and how far that reaches. Lock held. */
static int extent_find(struct qcow2 *q, uint64_t offset, enum qcow2_kind *first,
                       struct extent *extent)
{
    uint64_t limit = extent->length, done = 0;
    struct qcow2_entry entry;
    while (done < limit) {
        uint64_t at = offset + done, host;
        enum qcow2_kind kind;
        int ret = 0;
        if (done == 0 || at % q->cluster_bytes == 0)
            ret = qcow2_entry_get(q, at, &entry);
        if (ret == 0)
            ret = qcow2_entry_kind(q, entry, at, &kind, &host);
        if (ret && done == 0)
            return ret;
        if (ret)
            break; /* the next look meets it */
        if (done == 0) {
            *first = kind;
            extent->host = host;
        } else if (kind != *first || kind == QCOW2_PACKED ||
                   (kind == QCOW2_DATA && host != extent->host + done)) {
            break;
        }
        done += unit_left(q, kind, at);
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
    if (kind == QCOW2_PACKED)
        extent->host = EXTENT_NO_HOST;
    return ret;
}

static int packed_read(const struct qcow2 *q, void *buf, uint64_t word, uint64_t offset,
                       uint64_t length)
{
    CLEANUP_FREE unsigned char *cluster = malloc(q->cluster_bytes);
    if (!cluster)
        return -ENOMEM;
    int ret = qcow2_packed_read(q, word, cluster);
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
    if (kind == QCOW2_PACKED)
        return packed_read(q, buf, entry.word, offset, *length);
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
