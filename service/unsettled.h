/* SPDX-License-Identifier: Apache-2.0
 *
 * After StoreFailed the outcome of a change is unknown: the row may or may not have been written. A
 * `struct unsettled` has a function that reads the row and makes memory and row agree. It runs at
 * once if the store can be reopened. Otherwise it is queued, every call that needs the store is
 * refused (503), and the next such call retries; so do the threads that work in the background
 * (jobs, leftovers, failures), for a call may never come. A restart settles the same work from the
 * rows (recovery.c), so nothing is lost with the queue.
 *
 * Settling functions run one at a time, under service->settle_lock, in the order in which they were
 * queued, and before any other request sees the store again.
 */
#ifndef SERVICE_UNSETTLED_H
#define SERVICE_UNSETTLED_H

#include "base/err.h"

struct service;

struct unsettled {
    struct unsettled *next;

    /* 0: done, whatever the outcome. -1: not possible now (unsettled_is_due of *err); it is called
     * again. */
    int (*settle)(struct service *service, struct unsettled *work, struct err *err);

    /* Frees queued work, when it is done or when the daemon ends. */
    void (*free)(struct unsettled *work);
};

/* Whether an access to a row must be repeated after this error: the store failed, another program
 * keeps it busy, or memory is short. Any other error is the store's answer. */
bool unsettled_is_due(const struct err *err);

/* Settles `work` now: 0, and it stays the caller's. Or -1 and *err: the queue owns it. */
int unsettled_settle(struct service *service, struct unsettled *work, struct err *err);

/* Reopens the store if it failed and settles all that is queued. 0, or -1 and *err. */
int unsettled_resolve(struct service *service, struct err *err);

/* The same for a probe, which does not wait: StoreFailed while another thread settles. */
int unsettled_probe(struct service *service, struct err *err);

/* Frees the queue. */
void unsettled_close(struct service *service);

#endif
