/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps the changes in memory few: the tables that changed are written once there are many of them.
 *
 *     slices changed   up to FLUSH_AT        nothing
 *                      up to FLUSH_FIRST     the image's flusher, a thread, flushes; requests go on
 *                      more                  whoever wants to change something flushes first (qcow2_make_room)
 *     journal          three quarters full   the flusher flushes
 *                      no room               whoever wants to change something flushes first
 *
 * So a writer waits for the disk only if the disk does not keep up, and not inside a fence, since a cut would wait with
 * it. Whoever has waited for somebody else's flush looks again before he flushes himself: of many writers one does.
 *
 * The flusher is started by the first need and joined when the image is frozen or closed. What fails in a flush is not
 * lost: the changes stay in memory and in the journal, and the flusher tries again every second, as does whoever asks for
 * a flush; but an fdatasync that failed makes all later ones fail (node_sync).
 */
#include "block/format/qcow2/flusher.h"

#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/flush.h"

#include <time.h>

enum { RETRY_S = 1 };

/* Until it is called, or until it is time to try again. Lock held. */
static void flusher_wait(struct qcow2 *q)
{
    struct timespec until;
    if (!q->flusher.must_retry) {
        pthread_cond_wait(&q->flusher.called, &q->lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RETRY_S;
    if (pthread_cond_timedwait(&q->flusher.called, &q->lock, &until) == ETIMEDOUT)
        q->flusher.is_wanted = true;
}

static void *flusher_run(void *arg)
{
    struct node *node = arg;
    struct qcow2 *q = node->state;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->flusher.is_wanted && !q->flusher.is_ending)
            flusher_wait(q);
        if (q->flusher.is_ending)
            break;
        q->flusher.is_wanted = false;
        pthread_mutex_unlock(&q->lock);
        pthread_mutex_lock(&node->flush_lock);
        qcow2_flush_tables(node);
        pthread_mutex_unlock(&node->flush_lock);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* Without such a thread the writers flush. Lock held. */
static void flusher_start(struct qcow2 *q)
{
    struct qcow2_flusher *flusher = &q->flusher;
    if (!flusher->is_running && !flusher->is_ending)
        flusher->is_running = pthread_create(&flusher->thread, NULL, flusher_run, q->node) == 0;
    pthread_cond_signal(&flusher->called);
}

/* A flush failed: the flusher tries again, if that may help. */
int qcow2_flush(struct node *node)
{
    struct qcow2 *q = node->state;
    int ret = qcow2_flush_tables(node);
    if (ret == 0)
        return 0;
    LOCK_GUARD(&q->lock);
    if (q->flusher.must_retry)
        flusher_start(q);
    return ret;
}

void qcow2_flusher_end(struct qcow2 *q)
{
    struct qcow2_flusher *flusher = &q->flusher;
    pthread_mutex_lock(&q->lock);
    flusher->is_ending = true;
    pthread_cond_signal(&flusher->called);
    pthread_mutex_unlock(&q->lock);
    if (flusher->is_running)
        pthread_join(flusher->thread, NULL);
    flusher->is_running = false;
}

int qcow2_reserve(struct qcow2 *q, size_t records)
{
    struct journal *journal = q->node->journal;
    if (q->cache.dirty_count > QCOW2_FLUSH_AT || journal_is_filling(journal)) {
        q->flusher.is_wanted = true;
        flusher_start(q);
    }
    bool is_reserved = journal_reserve(journal, records);
    q->flusher.lacks_records |= !is_reserved; /* until a flush has dropped some */
    qcow2_room_update(q);
    if (!atomic_load(&q->flusher.is_full))
        return 0;
    if (is_reserved)
        journal_unreserve(journal, records);
    return NODE_NEEDS_ROOM;
}

/* The node may be frozen by now, and its journal gone: only the flag is looked at. */
int qcow2_make_room(struct node *node)
{
    struct qcow2 *q = node->state;
    if (!atomic_load(&q->flusher.is_full))
        return 0;
    LOCK_GUARD(&node->flush_lock);
    return atomic_load(&q->flusher.is_full) ? qcow2_flush(node) : 0;
}

void qcow2_freeze(struct node *node)
{
    struct qcow2 *q = node->state;
    qcow2_flusher_end(q);
    LOCK_GUARD(&q->lock);
    qcow2_cache_shrink(&q->cache, QCOW2_CACHE_SLICES_FROZEN_MAX);
}
