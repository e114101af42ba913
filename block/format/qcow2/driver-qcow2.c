/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2: opening, closing, and the driver's table.
 */
#include "block/format/qcow2/driver-qcow2.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/create.h"
#include "block/format/qcow2/extension.h"
#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/grow.h"
#include "block/format/qcow2/header.h"
#include "block/format/qcow2/read.h"
#include "block/format/qcow2/rename.h"
#include "block/format/qcow2/thaw.h"
#include "block/format/qcow2/writable.h"
#include "block/format/qcow2/write.h"
#include "block/format/qcow2/zero.h"

static void qcow2_free(struct qcow2 *q)
{
    if (q->cache.buckets)
        qcow2_cache_free(&q->cache);
    free(q->snapshots);
    free(q->l1);
    free(q->l1_dirty);
    free(q->refcount_table);
    free(q->frees.clusters);
    free(q->metadata.clusters);
    pthread_cond_destroy(&q->flusher.called);
    pthread_cond_destroy(&q->range_unlocked);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static struct qcow2 *qcow2_new(struct node *node)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->range_unlocked, NULL);
    pthread_cond_init(&q->flusher.called, NULL);
    q->node = node;
    q->fd = node->fd;
    return q;
}

static int qcow2_open(struct node *node, struct err *err)
{
    struct qcow2 *q = qcow2_new(node);
    if (!q)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", node->path);
    node->state = q;
    int ret = qcow2_header_load(node, q, err);
    if (ret == 0) {
        uint32_t slice_bytes = q->cluster_bytes < QCOW2_SLICE_BYTES_MAX ? (uint32_t)q->cluster_bytes
                                                                        : QCOW2_SLICE_BYTES_MAX;
        if (qcow2_cache_init(&q->cache, slice_bytes) != 0)
            ret =
                err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", node->path);
    }
    if (ret == 0 && !atomic_load(&node->read_only))
        ret = qcow2_make_writable(node, err);
    if (ret) {
        qcow2_flusher_end(q);
        qcow2_free(q);
        node->state = NULL;
        return ret;
    }
    qcow2_cache_join(q);
    return 0;
}

static void qcow2_close(struct node *node)
{
    struct qcow2 *q = node->state;
    qcow2_cache_leave(&q->cache);
    qcow2_flusher_end(q);
    if (!atomic_load(&node->read_only) && !q->is_corrupt)
        qcow2_file_trim(q);
    qcow2_free(q);
    node->state = NULL;
}

static int qcow2_amend(struct node *node, int fd, const struct image_spec *spec, struct err *err)
{
    return spec->backing_file ? qcow2_rename(node, fd, spec, err) : qcow2_grow(node, fd, spec, err);
}

const struct driver driver_qcow2 = {
    .name = "qcow2",
    .supports_backing = true,
    .open = qcow2_open,
    .close = qcow2_close,
    .create = qcow2_create,
    .group_id = qcow2_group_id,
    .map = qcow2_map,
    .read = qcow2_read,
    .write = qcow2_write,
    .write_many = qcow2_write_many,
    .zero = qcow2_zero,
    .flush = qcow2_flush,
    .make_room = qcow2_make_room,
    .set_writable = qcow2_set_writable,
    .amend = qcow2_amend,
};
