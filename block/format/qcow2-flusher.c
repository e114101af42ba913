/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps the changes in memory few: the tables that changed are written once there are many of them.
 *
 *     slices changed   up to FLUSH_AT        nothing
 *                      up to FLUSH_FIRST     the image's flusher, a thread, flushes; requests go on
 *                      more                  a request that changes something flushes first, itself
 *     journal          three quarters full   the flusher flushes
 *                      no room               a request that needs some flushes first, itself (qcow2_make_room)
 *
 * So a writer waits for the disk only if the disk does not keep up. The flusher is started by the first need and
 * joined when the image is closed. What fails in it is not lost: the changes stay in memory and the next flush that
 * somebody asked for meets the same disk; an fdatasync that failed makes all later ones fail (node_sync).
 */
#include "block/format/qcow2.h"

enum { FLUSH_AT = 1024, FLUSH_FIRST = 3072 };

static void *flusher_run(void *arg)
{
    struct node *node = arg;
    struct qcow2 *q = node->state;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->flusher.is_wanted && !q->flusher.is_ending)
            pthread_cond_wait(&q->flusher.called, &q->lock);
        if (q->flusher.is_ending)
            break;
        q->flusher.is_wanted = false;
        pthread_mutex_unlock(&q->lock);
        pthread_mutex_lock(&node->flush_lock);
        qcow2_flush(node);
        pthread_mutex_unlock(&node->flush_lock);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* False if there is no such thread and none can be had. Lock held. */
static bool flusher_call(struct node *node)
{
    struct qcow2_flusher *flusher = &((struct qcow2 *)node->state)->flusher;
    if (!flusher->is_running)
        flusher->is_running = pthread_create(&flusher->thread, NULL, flusher_run, node) == 0;
    flusher->is_wanted = true;
    pthread_cond_signal(&flusher->called);
    return flusher->is_running;
}

void qcow2_flusher_end(struct qcow2 *q)
{
    pthread_mutex_lock(&q->lock);
    q->flusher.is_ending = true;
    pthread_cond_signal(&q->flusher.called);
    pthread_mutex_unlock(&q->lock);
    if (q->flusher.is_running)
        pthread_join(q->flusher.thread, NULL);
}

bool qcow2_is_full(struct node *node)
{
    struct qcow2 *q = node->state;
    bool has_many = q->cache.dirty_count > FLUSH_AT || journal_is_filling(node->journal);
    return has_many && (!flusher_call(node) || q->cache.dirty_count > FLUSH_FIRST);
}

int qcow2_flush_if_full(struct node *node)
{
    struct qcow2 *q = node->state;
    pthread_mutex_lock(&q->lock);
    bool is_full = qcow2_is_full(node);
    pthread_mutex_unlock(&q->lock);
    if (!is_full)
        return 0;
    LOCK_GUARD(&node->flush_lock);
    return qcow2_flush(node);
}
