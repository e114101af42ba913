/* SPDX-License-Identifier: Apache-2.0
 *
 * The changes in flight of one device: which image each one goes to, and which range. Private to
 * block/.
 *
 * A change is a write, a zero or a discard while it is executed. What it goes to, the top, is
 * looked up and listed in one step, so that a cut and its seal are exact:
 *
 *     changes_begin --> the change is made in change->node --> changes_end
 *
 *   C1. A change is listed from the look-up of its node until it is done. So, once a cut is made
 *       (cut.h) and the changes of the old top in the lists have ended, it has none any more: who
 *       looks later takes a list's lock after the waiter did, and finds the new top.
 *   C2. A change is listed when it is executed, not when it is queued, and only a change of the new
 *       top waits for others, those of the old one: no two wait for each other. No assert: a
 *       property of the callers.
 *
 * A device has several lists with a lock each, and a thread uses the same one always, so that
 * connections do not contend. Only memory is touched.
 */
#ifndef BLOCK_DEVICE_CHANGES_H
#define BLOCK_DEVICE_CHANGES_H

#include "block/device/index.h"

#include <stdalign.h>

enum { CHANGES_STRIPES = 8 };

struct changes_stripe;

/* On the stack of the thread that makes the change. */
struct change {
    struct node *node;   /* the top when it began: where it is made */
    uint64_t start, end; /* the range that it may write, in bytes of the device */
    struct changes_stripe *stripe;
    struct change *next, **link; /* in the stripe's list */
};

struct changes_stripe {
    alignas(128)
        pthread_mutex_t lock; /* guards all below; two cache lines: they are fetched in pairs */
    pthread_cond_t ended;
    struct change *first;
    unsigned waiting; /* for `ended` */
};

struct changes {
    struct changes_stripe stripes[CHANGES_STRIPES];
};

void changes_init(struct changes *changes);
void changes_destroy(struct changes *changes);

/* Lists a change of [start, end) in the top of the index that is current then. */
void changes_begin(struct changes *changes, struct index *const _Atomic *index,
                   struct change *change, uint64_t start, uint64_t end);
void changes_end(struct change *change);

/* Waits until no listed change of that node overlaps [start, end). Changes that begin meanwhile
 * count too; after a cut none begins in the old top. */
void changes_await(struct changes *changes, const struct node *node, uint64_t start, uint64_t end);

/* How many listed changes go to that node. */
size_t changes_count(struct changes *changes, const struct node *node);

#endif
