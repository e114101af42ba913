/* SPDX-License-Identifier: Apache-2.0
 *
 * The flusher keeps the changes in memory few: it writes the tables back once many of them have
 * changed.
 *
 *     dirty slices   up to QCOW2_FLUSH_AT       nothing (DIRTY_FEW, where tables of all images have
 *                                               used up their memory)
 *                    up to QCOW2_FLUSH_FIRST    the flusher, a thread, flushes; requests go on
 *                    more                       writers flush first (qcow2_make_room)
 *     journal        three quarters full        the flusher flushes
 *                    full                       writers flush first
 *
 *     ABSENT --flusher_start--> RUNNING --qcow2_flusher_end--> ENDED
 *       |^---------------------- qcow2_flusher_reset ----------+^
 *       +----------------------- qcow2_flusher_end -------------+
 *
 *   F1  A writer waits for the disk only if the disk does not keep up, and never inside a change,
 *       since a seal would wait with it: NODE_NEEDS_ROOM ends the change. No assert: a driver does
 *       not know its callers.
 *   F2  Of many writers that need room one flushes: each checks again after it acquired flush_lock.
 *       No assert: room may be short again at once.
 *   F3  The thread is started by the first need and joined when the image is frozen or closed; it
 *       is not started after that, unless the image is thawed.
 *   F4  A failed flush loses nothing: the changes stay in memory and in the journal, and the
 *       flusher retries every second, as does every explicit flush. A failed fdatasync is permanent
 *       (node_sync).
 */
#include "block/format/qcow2/flusher.h"

#include "base/condition.h"
#include "base/monotonic.h"
#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/flush.h"

enum { RETRY_US = 1000000, DIRTY_FEW = 64 };

static void flusher_assert_state(struct qcow2 *q)
{
    qcow2_assert_locked(q);
    assert(q->flusher.state <= QCOW2_FLUSHER_ENDED);
    /* F3: a frozen image keeps no thread for longer than the join takes. */
    assert(q->flusher.state != QCOW2_FLUSHER_ENDED || !q->flusher.is_wanted);
}

/* Waits for a call, or until it is time to retry. Lock held. */
static void flusher_wait(struct qcow2 *q)
{
    if (!q->flusher.must_retry) {
        condition_wait(&q->flusher.called, &q->lock);
        return;
    }
    if (!condition_wait_until(&q->flusher.called, &q->lock, clock_monotonic_us() + RETRY_US))
        q->flusher.is_wanted = true;
}

static void *flusher_run(void *arg)
{
    struct node *node = arg;
    struct qcow2 *q = node->state;
    pthread_mutex_lock(&q->lock);
    while (q->flusher.state == QCOW2_FLUSHER_RUNNING) {
        flusher_assert_state(q);
        if (!q->flusher.is_wanted) {
            flusher_wait(q);
            continue;
        }
        q->flusher.is_wanted = false;
        pthread_mutex_unlock(&q->lock);
        pthread_mutex_lock(&node->flush_lock);
        qcow2_flush_tables(node);
        pthread_mutex_unlock(&node->flush_lock);
        pthread_mutex_lock(&q->lock);
    }
    assert(q->flusher.state == QCOW2_FLUSHER_ENDING);
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* Starts the thread if there is none, and wakes it. If it cannot be started, the writers flush.
 * Lock held. */
static void flusher_start(struct qcow2 *q)
{
    struct qcow2_flusher *flusher = &q->flusher;
    flusher_assert_state(q);
    if (flusher->state == QCOW2_FLUSHER_ABSENT &&
        pthread_create(&flusher->thread, NULL, flusher_run, q->node) == 0) {
        pthread_setname_np(flusher->thread, "qcow2-flusher");
        flusher->state = QCOW2_FLUSHER_RUNNING;
    }
    pthread_cond_signal(&flusher->called);
    flusher_assert_state(q);
}

void qcow2_flusher_end(struct qcow2 *q)
{
    struct qcow2_flusher *flusher = &q->flusher;
    pthread_mutex_lock(&q->lock);
    bool is_running = flusher->state == QCOW2_FLUSHER_RUNNING;
    assert(flusher->state != QCOW2_FLUSHER_ENDING); /* ended by one thread only */
    flusher->state = is_running ? QCOW2_FLUSHER_ENDING : flusher->state;
    pthread_cond_signal(&flusher->called);
    pthread_mutex_unlock(&q->lock);
    if (is_running)
        pthread_join(flusher->thread, NULL);
    LOCK_GUARD(&q->lock);
    flusher->state = QCOW2_FLUSHER_ENDED;
    flusher->is_wanted = false;
    flusher_assert_state(q);
}

void qcow2_flusher_reset(struct qcow2 *q)
{
    flusher_assert_state(q);
    assert(q->flusher.state == QCOW2_FLUSHER_ABSENT || q->flusher.state == QCOW2_FLUSHER_ENDED);
    q->flusher.state = QCOW2_FLUSHER_ABSENT;
    qcow2_room_update(q);
}

int qcow2_flush(struct node *node)
{
    struct qcow2 *q = node->state;
    int ret = qcow2_flush_tables(node);
    if (ret == 0)
        return 0;
    LOCK_GUARD(&q->lock);
    assert(q->flusher.must_retry || atomic_load(&node->sync_error) || q->is_corrupt); /* F4 */
    if (q->flusher.must_retry)
        flusher_start(q);
    return ret;
}

int qcow2_reserve(struct qcow2 *q, size_t records)
{
    struct journal *journal = q->node->journal;
    assert(records > 0 && q->flusher.state < QCOW2_FLUSHER_ENDING); /* F3 */
    size_t flush_at = table_memory_is_used_up() ? DIRTY_FEW : QCOW2_FLUSH_AT;
    if (q->cache.dirty_count > flush_at || journal_is_filling(journal)) {
        q->flusher.is_wanted = true;
        flusher_start(q);
    }
    bool is_reserved = journal_reserve(journal, records);
    q->flusher.lacks_records |= !is_reserved; /* until a flush drops records */
    qcow2_room_update(q);
    if (!atomic_load(&q->flusher.is_full))
        return 0;
    if (is_reserved)
        journal_unreserve(journal, records);
    return NODE_NEEDS_ROOM;
}

/* The node may be frozen by now and its journal gone, so only the flag is read. */
int qcow2_make_room(struct node *node)
{
    struct qcow2 *q = node->state;
    if (!atomic_load(&q->flusher.is_full))
        return 0;
    LOCK_GUARD(&node->flush_lock);
    return atomic_load(&q->flusher.is_full) ? qcow2_flush(node) : 0;
}
