/* SPDX-License-Identifier: Apache-2.0
 *
 * The service: what every handler and use case is given.
 *
 *   starting --(store, block, recovery, exports, sockets)--> ready --(SIGTERM, SIGINT)--> closing
 *
 * `block` and `store` are set before the first handler runs and outlive the last one; both may be
 * called from any thread. Locks, in the order they are taken: names_lock, settle_lock; neither is
 * held by a caller of the other today, and no handler runs under either but for what unsettled.h
 * says.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "block/block.h"
#include "service/memory.h"
#include "service/options.h"
#include "store/store.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct unsettled;
struct name_hold;

struct service {
    pthread_mutex_t names_lock;
    pthread_cond_t names_changed;
    struct name_hold *names; /* names_lock: names of devices that are changing (names.h) */

    pthread_mutex_t settle_lock;
    struct unsettled *unsettled; /* settle_lock: oldest first (unsettled.h) */
    atomic_bool is_unsettled;    /* there are some; changed under settle_lock, read without */

    struct memory memory; /* of requests and replies */
    atomic_uint calls;    /* under way, of those that need the store */

    struct block *block;
    struct store *store;
    atomic_bool ready; /* recovery is done */
};

/* For structs that are released by a function of their own address. */
#define CLEANUP_BY(function) __attribute__((cleanup(function)))

/* The signals that service_run() waits for: SIGTERM and SIGINT end the daemon, SIGHUP is logged. They must
 * be blocked in all threads before it is called, and stay so: one more while it ends changes nothing. */
void service_signals(sigset_t *set);

/* Starts everything, serves until SIGTERM or SIGINT, closes everything. Returns the exit status: 0,
 * or 1 with the reason in the log. */
int service_run(const struct options *options);

/* Calls at a time that need the store; those that need nothing are never among them, and so find threads
 * and connections when others wait for a disk. */
#define SERVICE_CALLS_MAX 256

struct service_call {
    struct service *service; /* NULL: none */
};

/* Counts a call. OutOfResources: there are too many. */
int service_call_begin(struct service_call *call, struct service *service, struct err *err);
void service_call_end(struct service_call *call);

/* Whether a request that needs the store can be served now: NotReady before recovery is done,
 * StoreFailed while the store cannot be reopened. Settles what is unsettled first. */
int service_check_ready(struct service *service, struct err *err);

/* The same, for a probe: waits neither for other requests nor for anybody's change. */
int service_probe_ready(struct service *service, struct err *err);

#endif
