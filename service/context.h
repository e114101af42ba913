/* SPDX-License-Identifier: Apache-2.0
 *
 * The context: the state that every handler and use case is given.
 *
 *   starting --(store, block, recovery, NBD sockets)--> ready --(SIGTERM, SIGINT)--> closing
 *
 * `block` and `store` are set before the first handler runs and outlive the last one; both may be
 * called from any thread. Lock order: settle_lock, leftovers_lock; names_lock and cuts_lock are
 * never held together with another. No handler runs under any of them, except as unsettled.h says.
 */
#ifndef SERVICE_CONTEXT_H
#define SERVICE_CONTEXT_H

#include "block/block.h"
#include "service/memory.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct unsettled;
struct name_hold;
struct group_runs;
struct storage_calls;
struct readiness;
struct metrics;
struct device_cache;
struct tokens;
struct job_control;
struct jobs;
struct leftover;
struct key_claim;
struct late_cut;
struct open_cut;

enum { LEFTOVER_THREADS = 4 }; /* as many may wait for storage that hangs */

struct service {
    pthread_mutex_t names_lock;
    pthread_cond_t names_changed;
    struct name_hold *names; /* names_lock: names of devices that are changing (names.h) */

    pthread_mutex_t settle_lock;
    struct unsettled *unsettled; /* settle_lock: oldest first (unsettled.h) */
    atomic_bool is_unsettled;    /* the queue is not empty; written under settle_lock */

    struct late_cut *late_cuts; /* settle_lock: threads of group-settlement.c */

    pthread_mutex_t cuts_lock;
    struct open_cut *open_cuts; /* cuts_lock (open-cuts.h) */

    pthread_mutex_t leftovers_lock;
    pthread_cond_t leftovers_changed;
    struct leftover *leftovers; /* these five: leftovers_lock (leftovers.h) */
    bool leftovers_end;
    unsigned leftovers_waiting; /* threads that retry nothing */
    unsigned leftovers_started;
    pthread_t leftovers_threads[LEFTOVER_THREADS];

    pthread_mutex_t keys_lock;
    struct key_claim *keys; /* keys_lock: of requests that run (idempotency.h) */

    struct job_control *job_control; /* of the jobs that run */
    struct jobs *jobs;

    struct memory memory; /* of requests and replies */
    struct metrics *metrics;
    struct device_cache *device_cache;
    struct group_runs *group_runs;
    struct storage_calls *storage_calls;
    struct readiness *readiness; /* of frozen images */
    struct tokens *tokens;       /* once the store is open (tokens.h) */
    atomic_uint calls;           /* running calls that need the store (admission.h) */

    struct block *block;
    struct store *store;
    atomic_bool ready; /* recovery is done */
};

#endif
