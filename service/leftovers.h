/* SPDX-License-Identifier: Apache-2.0
 *
 * Leftovers: files of rolled-back groups and creations, and of detaches that a start finishes, that
 * could not be removed, as a rule because their storage is away. Threads of their own retry until
 * they are removed, so nothing else waits for them; nor does one for another, as long as fewer than
 * LEFTOVER_THREADS wait for storage that hangs. The durable record is the row,
 * `aborting`, `creating` or `detaching`, or the merge of a job that has ended (left-files.h); a
 * restart lists them anew.
 *
 * The same threads open a store that failed, and settle what is queued (unsettled.h), when no call
 * does.
 */
#ifndef SERVICE_LEFTOVERS_H
#define SERVICE_LEFTOVERS_H

#include "block/block.h"
#include "service/unsettled.h"
#include "store/row.h"

#include <stdbool.h>

struct service;

struct leftover {
    struct leftover *next;
    bool is_retried;     /* now, by one of the threads */
    bool is_added_again; /* meanwhile */
    /* Removes what it can. True: nothing is left to do. On a thread of these, no lock held; the
     * store is open, and nothing was queued a moment ago. */
    bool (*retry)(struct service *service, const struct leftover *leftover);
    char id[STORE_ID_CHARS + 1];
    char name[]; /* of a device, or the path of an image, else "" */
};

/* Calls `retry` until it is done, for what has that id, and that name (NULL: none); there may be
 * one already. Logs `cause`, if there is one, once. Where memory or threads are short, and from
 * leftovers_close() on, a restart does it. Any thread. */
void leftovers_add(struct service *service,
                   bool (*retry)(struct service *service, const struct leftover *leftover),
                   const char *id, const char *name, const struct err *cause);

/* As unsettled_settle(); what it queues does not wait for a call. */
int leftovers_settle(struct service *service, struct unsettled *work, struct err *err);

/* Ends the threads, which may be waiting for storage. Before all that they use is closed: jobs,
 * calls to storage, block and store. */
void leftovers_close(struct service *service);

#endif
