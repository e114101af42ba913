/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of a server: threads that execute the requests which may have to wait, so that no
 * connection's thread waits for them. A request in the pool is a task.
 *
 *      connection's thread                  pool                    pool's threads
 *      nbd_queue_submit ----> queue: task, task, ... --in turn--> nbd_request_execute
 *      nbd_queue_collect <--- done:  task, task, ... <-----------/
 *
 * Fairness: connections take turns, and of each at most NBD_TASKS_RUNNING are executed at a time. A
 * connection that has tasks and none that is executed is starved; a starved one comes first, and
 * gets a thread even beyond NBD_POOL_THREADS. So whatever the others wait for, every connection
 * goes on.
 *
 * Threads: a connection's thread submits and collects; the pool's threads touch a connection only
 * under the pool's lock, and while they execute a task of it, which they hand back under that lock.
 * So a connection whose queue is empty may go away.
 */
#ifndef BLOCK_NBD_POOL_H
#define BLOCK_NBD_POOL_H

#include "block/nbd/request.h"

#include <pthread.h>
#include <semaphore.h>

enum { NBD_POOL_THREADS = 64, NBD_TASKS_RUNNING = 16 };

struct nbd_task {
    struct nbd_task *next;
    struct nbd_request request;
    size_t bytes; /* all that it takes */
    const unsigned char *payload;
    unsigned char *reply;
    size_t reply_bytes;
    unsigned char data[]; /* the payload's copy, the reply */
};

struct nbd_task_list {
    struct nbd_task *first, *last;
};

struct nbd_queue_list {
    struct nbd_queue *first, *last;
};

struct nbd_pool {
    pthread_mutex_t lock;
    sem_t work;          /* posted for each wakeup, and when stopping for each idle thread */
    pthread_cond_t left; /* threads == 0 */
    /* Guarded by lock. */
    unsigned threads, idle; /* idle: waiting, and not promised any work yet */
    unsigned wakeups;       /* promises of work not taken up yet */
    bool stopping;
    struct nbd_queue_list starved, turn;
};

/* A connection's side of it. */
struct nbd_queue {
    /* Guarded by the pool's lock. */
    struct nbd_queue *next;
    struct nbd_queue_list *list; /* the pool's list that it is in, or NULL */
    const struct nbd_session *session;
    struct nbd_task_list queued, done;
    unsigned running;
    bool woken; /* wake_fd has been written since the last collection */
    /* The connection thread's. */
    int wake_fd;       /* an eventfd, readable when there is something to collect; -1 before */
    unsigned tasks;    /* submitted, and not freed yet */
    size_t task_bytes; /* of these */
    size_t granted;    /* NBD_OWN_BYTES and what is taken from the budget; task_bytes <= granted */
    struct nbd_budget *budget;
};

void nbd_pool_open(struct nbd_pool *pool);
void nbd_pool_close(struct nbd_pool *pool); /* no queue has tasks */

void nbd_queue_open(struct nbd_queue *queue, struct nbd_budget *budget);
void nbd_queue_close(struct nbd_queue *queue);

/* What a task for the request takes. */
size_t nbd_task_bytes(const struct nbd_session *session, const struct nbd_request *request);

/* Sees to it that a task of so many bytes can be submitted. False: the budget has no room for
 * it. */
bool nbd_queue_make_room(struct nbd_queue *queue, size_t bytes);

/* Copies the request and its payload, for which there is room, and has it executed. 0, or -errno if
 * the pool cannot take it; then the caller executes it. */
int nbd_queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                     const struct nbd_session *session, const struct nbd_request *request,
                     const void *payload);

/* Takes the tasks that are done; empty if there are none. Each is given back with
 * nbd_queue_free_task once its reply is sent. */
struct nbd_task *nbd_queue_collect(struct nbd_queue *queue, struct nbd_pool *pool);
void nbd_queue_free_task(struct nbd_queue *queue, struct nbd_task *task);

#endif
