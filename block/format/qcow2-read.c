/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading one extent: subclusters that follow one another, of one kind and, if data, in one piece in the file.
 */
#include "block/format/qcow2.h"

/* One extent of the image. */
struct extent {
    enum qcow2_kind kind;
    uint64_t host; /* DATA: where it starts */
    uint64_t word; /* PACKED: the entry */
    uint64_t length;
};

/* How far from `offset` its subcluster, or whole compressed cluster, reaches. */
static uint64_t unit_left(const struct qcow2 *q, enum qcow2_kind kind, uint64_t offset)
{
    uint64_t unit = kind == QCOW2_PACKED ? q->cluster_bytes : q->subcluster_bytes;
    return unit - offset % unit;
}

/* Finds the extent at `offset`, at most extent->length long. Lock held. */
static int extent_find(struct qcow2 *q, uint64_t offset, struct extent *extent)
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
            break; /* the next read meets it */
        if (done == 0)
            *extent = (struct extent){.kind = kind, .host = host, .word = entry.word};
        else if (kind != extent->kind || kind == QCOW2_PACKED ||
                 (kind == QCOW2_DATA && host != extent->host + done))
            break;
        done += unit_left(q, kind, at);
    }
    extent->length = done < limit ? done : limit;
    return 0;
}

/* Data that lie past the end of the file were never written: zeros. */
static int data_read(const struct qcow2 *q, void *buf, uint64_t host, uint64_t length)
{
    uint64_t done = 0;
    while (done < length) {
        ssize_t n = pread(q->fd, (char *)buf + done, length - done, (off_t)(host + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    memset((char *)buf + done, 0, length - done);
    return 0;
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

int qcow2_read_held(struct node *node, void *buf, uint64_t offset, uint64_t *length,
                    enum extent_kind *kind)
{
    struct qcow2 *q = node->state;
    struct extent extent = {.length = *length};
    pthread_mutex_lock(&q->lock);
    int ret = extent_find(q, offset, &extent);
    pthread_mutex_unlock(&q->lock);
    if (ret)
        return ret;
    *length = extent.length;
    switch (extent.kind) {
    case QCOW2_UNALLOCATED:
        *kind = EXTENT_BACKING;
        return 0;
    case QCOW2_ZEROS:
        *kind = EXTENT_ZERO;
        return 0;
    case QCOW2_DATA:
        *kind = EXTENT_DATA;
        return buf ? data_read(q, buf, extent.host, extent.length) : 0;
    case QCOW2_PACKED:
        *kind = EXTENT_DATA;
        return buf ? packed_read(q, buf, extent.word, offset, extent.length) : 0;
    }
    return -EIO;
}

int qcow2_read(struct node *node, void *buf, uint64_t offset, uint64_t *length,
               enum extent_kind *kind)
{
    struct qcow2 *q = node->state;
    pthread_rwlock_rdlock(&q->io_lock);
    int ret = qcow2_read_held(node, buf, offset, length, kind);
    pthread_rwlock_unlock(&q->io_lock);
    return ret;
}
