/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool. See nbd/pool.h.
 *
 * A queue's state follows from its tasks: those that wait (queued) and those that are executed
 * (running).
 *
 *     from      by       to
 *     RESTING   submit   STARVED; TURN if others run; RESTING at the limit of running tasks
 *     STARVED   submit   STARVED
 *     STARVED   take     TURN; RESTING if no task waits
 *     TURN      submit   TURN
 *     TURN      take     TURN; RESTING if no task waits, or at the limit
 *     TURN      finish   TURN; STARVED if no task runs
 *     RESTING   finish   TURN; RESTING if no task waits
 *
 * STARVED and TURN are the pool's lists of that name.
 *
 *   Q1  A queue is in the list of its state, in none if it rests.
 *   Q2  running <= NBD_TASKS_RUNNING.
 *   Q3  A queue that is closed has no tasks.
 *   P1  Until the pool stops, idle + wakeups <= threads.
 *   P2  A pool that has stopped has no queue in its lists.
 *
 * For every starved queue there is a thread on its way: woken, just started, or about to look since
 * it has just finished something. Threads take starved queues first; so no queue starves for longer
 * than that takes.
 */
#include "block/nbd/pool.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "block/nbd/read.h"
#include "block/nbd/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum queue_state { QUEUE_RESTING, QUEUE_STARVED, QUEUE_TURN };

static enum queue_state queue_state_locked(const struct nbd_queue *queue)
{
    if (!queue->queued.first || queue->running >= NBD_TASKS_RUNNING)
        return QUEUE_RESTING;
    return queue->running ? QUEUE_TURN : QUEUE_STARVED;
}

/* The list for the queue's state, or NULL. */
static struct nbd_queue_list *queue_list_locked(struct nbd_pool *pool,
                                                const struct nbd_queue *queue)
{
    switch (queue_state_locked(queue)) {
    case QUEUE_STARVED:
        return &pool->starved;
    case QUEUE_TURN:
        return &pool->turn;
    case QUEUE_RESTING:
        break;
    }
    return NULL;
}

static void queue_assert_state(struct nbd_pool *pool, const struct nbd_queue *queue)
{
    assert(queue->list == queue_list_locked(pool, queue)); /* Q1 */
    assert(queue->running <= NBD_TASKS_RUNNING);           /* Q2 */
    assert(queue->wake_fd >= 0 || !queue->queued.first);
    (void)pool, (void)queue;
}

static void pool_assert_state(const struct nbd_pool *pool)
{
    assert(pool->stopping || pool->idle + pool->wakeups <= pool->threads); /* P1 */
    (void)pool;
}

void nbd_pool_open(struct nbd_pool *pool)
{
    *pool = (struct nbd_pool){.stopping = false};
    pthread_mutex_init(&pool->lock, NULL);
    sem_init(&pool->work, 0, 0);
    pthread_cond_init(&pool->left, NULL);
}

void nbd_pool_close(struct nbd_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    for (unsigned i = 0; i < pool->idle; i++)
        sem_post(&pool->work);
    while (pool->threads)
        condition_wait(&pool->left, &pool->lock);
    assert(!pool->starved.first && !pool->turn.first); /* P2 */
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&pool->left);
    sem_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
}

/* ---- queues ---- */

void nbd_queue_open(struct nbd_queue *queue, struct nbd_budget *budget)
{
    *queue = (struct nbd_queue){.wake_fd = -1, .granted = NBD_OWN_BYTES, .budget = budget};
}

void nbd_queue_close(struct nbd_queue *queue)
{
    assert(queue->tasks == 0 && queue->task_bytes == 0);                                   /* Q3 */
    assert(!queue->queued.first && !queue->done.first && !queue->running && !queue->list); /* Q3 */
    if (queue->wake_fd >= 0)
        close(queue->wake_fd);
    queue->wake_fd = -1;
    if (queue->budget)
        nbd_budget_lower(queue->budget, &queue->granted, 0);
}

static void list_append(struct nbd_task_list *list, struct nbd_task *task)
{
    task->next = NULL;
    if (list->first)
        list->last->next = task;
    else
        list->first = task;
    list->last = task;
}

static struct nbd_task *list_take(struct nbd_task_list *list)
{
    struct nbd_task *task = list->first;
    list->first = task->next;
    return task;
}

static void queues_append(struct nbd_queue_list *list, struct nbd_queue *queue)
{
    queue->list = list;
    queue->next = NULL;
    if (list->first)
        list->last->next = queue;
    else
        list->first = queue;
    list->last = queue;
}

static struct nbd_queue *queues_take(struct nbd_queue_list *list)
{
    struct nbd_queue *queue = list->first;
    if (queue) {
        list->first = queue->next;
        queue->list = NULL;
    }
    return queue;
}

static void queues_remove(struct nbd_queue_list *list, struct nbd_queue *queue)
{
    struct nbd_queue *before = NULL;
    for (struct nbd_queue *one = list->first; one != queue; one = one->next)
        before = one;
    if (before)
        before->next = queue->next;
    else
        list->first = queue->next;
    if (list->last == queue)
        list->last = before;
    queue->list = NULL;
}

/* Moves a queue to the list of its state. */
static void queue_place_locked(struct nbd_pool *pool, struct nbd_queue *queue)
{
    struct nbd_queue_list *list = queue_list_locked(pool, queue);
    if (list == queue->list)
        return;
    if (queue->list)
        queues_remove(queue->list, queue);
    if (list)
        queues_append(list, queue);
}

/* ---- the pool's threads ---- */

/* The next task to execute, and whose it is; NULL if there is none. Threads beyond the limit are
 * there for starved queues only. */
static struct nbd_task *pool_take_locked(struct nbd_pool *pool, struct nbd_queue **owner)
{
    struct nbd_queue *queue = queues_take(&pool->starved);
    if (!queue && pool->threads <= NBD_POOL_THREADS)
        queue = queues_take(&pool->turn);
    if (!queue)
        return NULL;
    struct nbd_task *task = list_take(&queue->queued);
    queue->running++;
    queue_place_locked(pool, queue);
    queue_assert_state(pool, queue);
    *owner = queue;
    return task;
}

static void pool_finish_locked(struct nbd_pool *pool, struct nbd_queue *queue,
                               struct nbd_task *task)
{
    assert(queue->running > 0);
    queue_assert_state(pool, queue);
    list_append(&queue->done, task);
    queue->running--;
    queue_place_locked(pool, queue);
    queue_assert_state(pool, queue);
    if (!queue->woken)
        eventfd_write(queue->wake_fd, 1);
    queue->woken = true;
}

/* Waits for work, by a semaphore: a condition variable may lose a signal (base/condition.h), and a
 * limit of time costs each request more. False: the thread is to end. */
static bool pool_wait_locked(struct nbd_pool *pool)
{
    if (pool->threads > NBD_POOL_THREADS || pool->stopping)
        return false;
    pool->idle++;
    pool_assert_state(pool);
    pthread_mutex_unlock(&pool->lock);
    while (sem_wait(&pool->work) != 0)
        assert(errno == EINTR);
    pthread_mutex_lock(&pool->lock);
    if (!pool->wakeups)
        return false;
    pool->wakeups--;
    pool_assert_state(pool);
    return true;
}

static void *pool_run(void *arg)
{
    struct nbd_pool *pool = arg;
    struct nbd_queue *queue;
    nbd_thread_serve_promptly();
    pthread_mutex_lock(&pool->lock);
    do {
        struct nbd_task *task;
        while ((task = pool_take_locked(pool, &queue))) {
            const struct nbd_session *session = queue->session;
            pthread_mutex_unlock(&pool->lock);
            task->reply_bytes =
                nbd_request_execute(session, &task->request, task->payload, task->reply, false);
            pthread_mutex_lock(&pool->lock);
            pool_finish_locked(pool, queue, task);
        }
    } while (pool_wait_locked(pool));
    if (--pool->threads == 0)
        pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Wakes an idle thread or starts one. */
static int pool_call_thread_locked(struct nbd_pool *pool, bool starved)
{
    pthread_t thread;
    if (pool->idle) {
        pool->idle--;
        pool->wakeups++;
        pool_assert_state(pool);
        sem_post(&pool->work);
        return 0;
    }
    if (pool->threads >= NBD_POOL_THREADS && !starved)
        return 0;
    int ret = nbd_thread_new(&thread, "nbd-pool", pool_run, pool);
    if (ret)
        return ret;
    pthread_detach(thread);
    pool->threads++;
    return 0;
}

/* ---- the connections' threads ---- */

size_t nbd_task_bytes(const struct nbd_session *session, const struct nbd_request *request)
{
    return sizeof(struct nbd_task) + request->payload_bytes +
           nbd_request_reply_bytes(session, request) + NBD_DATA_ALIGNMENT;
}

bool nbd_queue_make_room(struct nbd_queue *queue, size_t bytes)
{
    return nbd_budget_raise(queue->budget, &queue->granted, queue->task_bytes + bytes);
}

static struct nbd_task *task_new(const struct nbd_session *session,
                                 const struct nbd_request *request, const void *payload)
{
    size_t bytes = nbd_task_bytes(session, request);
    struct nbd_task *task = malloc(bytes);
    if (!task)
        return NULL;
    *task = (struct nbd_task){.request = *request, .bytes = bytes};
    task->payload = task->data;
    task->reply = task->data + request->payload_bytes;
    uintptr_t data = (uintptr_t)task->reply + nbd_read_data_offset(session);
    task->reply += -data % NBD_DATA_ALIGNMENT;
    if (request->payload_bytes)
        memcpy(task->data, payload, request->payload_bytes);
    return task;
}

static int queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                        const struct nbd_session *session, const struct nbd_request *request,
                        const void *payload)
{
    if (queue->wake_fd < 0)
        queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->wake_fd < 0)
        return -errno;
    CLEANUP_FREE struct nbd_task *task = task_new(session, request, payload);
    if (!task)
        return -ENOMEM;
    LOCK_GUARD(&pool->lock);
    queue_assert_state(pool, queue);
    bool starved = !queue->queued.first && !queue->running;
    if (starved || queue->running < NBD_TASKS_RUNNING) {
        int ret = pool_call_thread_locked(pool, starved);
        if (ret && starved)
            return ret;
    }
    queue->session = session;
    queue->tasks++;
    queue->task_bytes += task->bytes;
    assert(queue->task_bytes <= queue->granted);
    list_append(&queue->queued, steal(task));
    queue_place_locked(pool, queue);
    queue_assert_state(pool, queue);
    return 0;
}

int nbd_queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                     const struct nbd_session *session, const struct nbd_request *request,
                     const void *payload)
{
    int ret = queue_submit(queue, pool, session, request, payload);
    if (ret)
        nbd_budget_lower(queue->budget, &queue->granted, queue->task_bytes);
    return ret;
}

struct nbd_task *nbd_queue_collect(struct nbd_queue *queue, struct nbd_pool *pool)
{
    eventfd_t ignored;
    if (!queue->tasks)
        return NULL;
    LOCK_GUARD(&pool->lock);
    if (queue->woken)
        eventfd_read(queue->wake_fd, &ignored);
    queue->woken = false;
    struct nbd_task *done = queue->done.first;
    queue->done.first = NULL;
    return done;
}

void nbd_queue_free_task(struct nbd_queue *queue, struct nbd_task *task)
{
    assert(queue->tasks > 0 && queue->task_bytes >= task->bytes);
    queue->tasks--;
    queue->task_bytes -= task->bytes;
    nbd_budget_lower(queue->budget, &queue->granted, queue->task_bytes);
    free(task);
}
