/* SPDX-License-Identifier: Apache-2.0
 *
 * Letting go of host clusters. A reference that a change has dropped is remembered (qcow2_release_later); the flush
 * that has made the change durable takes it off the cluster's count (qcow2_release), in steps:
 *
 *     io_lock, exclusively, for an instant     requests that saw the tables before the change are gone then
 *     lock                                     whose last reference goes?
 *     no lock                                  their space goes back to the file system, which takes long
 *     lock                                     counts go down: from now on they are anybody's
 *
 * Between the steps the clusters are nobody's: no table names them any more, and whoever allocates finds them
 * counted. No count of a cluster in use ever goes up, so what is seen to be the last reference stays the last.
 *
 * The lock is taken for each cluster anew: its count may have to be read from the disk. Holes are limited because the
 * file system has a lock of its own: while it punches one nobody writes to the file.
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

/* How often the cluster at `i` is there: as many references go. */
static size_t references(const struct qcow2_frees *frees, size_t i)
{
    size_t end = i + 1;
    while (end < frees->count && frees->clusters[end] == frees->clusters[i])
        end++;
    return end - i;
}

/* Which of the part's clusters lose their last reference. */
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
        if (counted == n)
            last[(*count)++] = part->clusters[i];
    }
    return 0;
}

/* Neighbours are one hole. Where there can be none the space stays the file's: it is used again from there. */
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

/* *done: how many of the part's references are off their counts. */
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

/* The references from `first` on wait for another flush. Without memory for that they are leaked, not lost. */
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
        if (ret) {
            release_again(q, frees, i + done);
            return ret;
        }
    }
    return 0;
}
