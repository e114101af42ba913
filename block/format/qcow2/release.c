/* SPDX-License-Identifier: Apache-2.0
 *
 * Freeing host clusters. A reference that a change has removed is queued (frees.c); the flush that
 * has made the change durable drops it (qcow2_release), in steps:
 *
 *     io_lock, exclusively, for an instant   no request uses the tables as they were any more
 *     lock                                   find the clusters that lose their last reference
 *     no lock                                punch holes there, which takes long
 *     lock                                   lower the counts: from now on the clusters are free
 *
 * Between the steps no table references the clusters and no one can allocate them, since they are
 * still counted. The count of a cluster in use never goes up, so the last reference stays the last.
 *
 * The lock is acquired anew for each cluster, since its count may have to be read from disk. The
 * size of a hole is limited since the file system lets nobody write to the file while it punches
 * one.
 */
#include "block/format/qcow2/release.h"

#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/refcount.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

enum { PART_CLUSTERS = 1024, HOLE_BYTES_MAX = 4 << 20 };

static int cluster_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The number of references to drop from the cluster at `i`: `frees` is sorted. */
static size_t references(const struct qcow2_frees *frees, size_t i)
{
    assert(i < frees->count && (i == 0 || frees->clusters[i - 1] <= frees->clusters[i]));
    size_t end = i + 1;
    while (end < frees->count && frees->clusters[end] == frees->clusters[i])
        end++;
    return end - i;
}

/* Finds the clusters of the part that lose their last reference. */
static int last_find(struct qcow2 *q, const struct qcow2_frees *part, uint64_t *last, size_t *count)
{
    *count = 0;
    for (size_t i = 0, n; i < part->count; i += n) {
        uint64_t counted;
        LOCK_GUARD(&q->lock);
        n = references(part, i);
        int ret = qcow2_refcount_get(q, part->clusters[i], &counted);
        if (ret)
            return ret;
        assert(*count < PART_CLUSTERS);
        if (counted == n)
            last[(*count)++] = part->clusters[i];
    }
    return 0;
}

/* Adjacent clusters become one hole. Without holes the space stays the file's and is reused from
 * there. */
static void holes_punch(const struct qcow2 *q, const uint64_t *clusters, size_t count)
{
    uint64_t most = HOLE_BYTES_MAX >> q->cluster_bits;
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && n < most && clusters[i + n] == clusters[i] + n; n++)
            ;
        fallocate(q->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(clusters[i] << q->cluster_bits), (off_t)(n << q->cluster_bits));
    }
}

/* *done: the number of the part's references that were dropped. */
static int counts_drop(struct qcow2 *q, const struct qcow2_frees *part, size_t *done)
{
    for (size_t n; *done < part->count; *done += n) {
        LOCK_GUARD(&q->lock);
        n = references(part, *done);
        int ret = qcow2_refcount_drop(q, part->clusters[*done], n);
        if (ret)
            return ret;
    }
    return 0;
}

static int part_release(struct qcow2 *q, const struct qcow2_frees *part, size_t *done)
{
    uint64_t last[PART_CLUSTERS];
    size_t count;
    *done = 0;
    int ret = last_find(q, part, last, &count);
    if (ret)
        return ret;
    holes_punch(q, last, count);
    return counts_drop(q, part, done);
}

/* Queues the references from `first` on for the next flush. Without memory for that they are
 * leaked. */
static void release_again(struct qcow2 *q, const struct qcow2_frees *frees, size_t first)
{
    LOCK_GUARD(&q->lock);
    if (q->is_corrupt)
        return;
    for (size_t i = first; i < frees->count; i++)
        if (qcow2_release_later(q, frees->clusters[i]) != 0)
            return;
}

int qcow2_release(struct qcow2 *q, struct qcow2_frees *frees)
{
    pthread_rwlock_wrlock(&q->node->io_lock);
    pthread_rwlock_unlock(&q->node->io_lock);
    qsort(frees->clusters, frees->count, sizeof(*frees->clusters), cluster_compare);
    for (size_t i = 0, end; i < frees->count; i = end) {
        /* All references of one cluster are in one part. */
        size_t at = frees->count - i < PART_CLUSTERS ? frees->count - 1 : i + PART_CLUSTERS - 1;
        end = at + references(frees, at);
        struct qcow2_frees part = {.clusters = frees->clusters + i, .count = end - i};
        size_t done;
        int ret = part_release(q, &part, &done);
        assert(ret ? done <= part.count : done == part.count);
        if (ret) {
            release_again(q, frees, i + done);
            return ret;
        }
    }
    return 0;
}
