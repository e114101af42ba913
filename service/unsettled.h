/* SPDX-License-Identifier: Apache-2.0
 *
 * After StoreFailed the outcome of a change is unknown: the row may or may not have been written.
 * What then has to be done is put into a `struct unsettled`, whose function looks at the row and
 * makes memory and row agree. It runs at once if the store can be reopened; else it waits in a
 * queue, every call that needs the store is refused (503), and the next one that comes tries again.
 * A restart settles the same things (recovery.c), so a queue that is lost with the process loses
 * nothing.
 *
 * Settling functions run one at a time, under service->settle_lock, in the order in which their
 * work came, and before any other request gets to see the store again.
 */
#ifndef SERVICE_UNSETTLED_H
#define SERVICE_UNSETTLED_H

#include "base/err.h"

struct service;

struct unsettled {
    struct unsettled *next;

    /* 0: done, whatever the outcome was. -1: it could not be done now (unsettled_is_due of *err); it
     * will be called once more. */
    int (*settle)(struct service *service, struct unsettled *work, struct err *err);

    /* Releases the work after it was done from the queue, or when the daemon ends before. */
    void (*free)(struct unsettled *work);
};

/* Whether what an update or a look at a row was for is still to be done after this error: the store
 * failed, another program keeps it busy, or memory is short. Every other error is the store's answer. */
bool unsettled_is_due(const struct err *err);

/* Settles `work` now: 0, and it is the caller's still. Or -1 and *err: it is the queue's. */
int unsettled_settle(struct service *service, struct unsettled *work, struct err *err);

/* Reopens the store if it failed and settles all that is queued. 0, or -1 and *err. */
int unsettled_resolve(struct service *service, struct err *err);

/* The same for a probe, which waits for nobody: while somebody else is at it, that is the answer. */
int unsettled_probe(struct service *service, struct err *err);

/* Frees the queue. */
void unsettled_close(struct service *service);

#endif
