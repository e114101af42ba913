/* SPDX-License-Identifier: Apache-2.0
 *
 * See changes.h.
 */
#include "block/device/changes.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "block/device/thread-number.h"

#include <assert.h>

void changes_init(struct changes *changes)
{
    for (size_t i = 0; i < CHANGES_STRIPES; i++) {
        struct changes_stripe *stripe = &changes->stripes[i];
        *stripe = (struct changes_stripe){.first = NULL};
        pthread_mutex_init(&stripe->lock, NULL);
        pthread_cond_init(&stripe->ended, NULL);
    }
}

void changes_destroy(struct changes *changes)
{
    for (size_t i = 0; i < CHANGES_STRIPES; i++) {
        struct changes_stripe *stripe = &changes->stripes[i];
        assert(!stripe->first && stripe->waiting == 0);
        pthread_cond_destroy(&stripe->ended);
        pthread_mutex_destroy(&stripe->lock);
    }
}

void changes_begin(struct changes *changes, struct index *const _Atomic *index,
                   struct change *change, uint64_t start, uint64_t end)
{
    struct changes_stripe *stripe = &changes->stripes[thread_number() % CHANGES_STRIPES];
    change->stripe = stripe;
    change->start = start;
    change->end = end;
    LOCK_GUARD(&stripe->lock);
    change->node = index_top(atomic_load(index)); /* C1: under the lock */
    change->next = stripe->first;
    change->link = &stripe->first;
    if (change->next)
        change->next->link = &change->next;
    stripe->first = change;
}

void changes_end(struct change *change)
{
    struct changes_stripe *stripe = change->stripe;
    LOCK_GUARD(&stripe->lock);
    assert(*change->link == change); /* C1 */
    *change->link = change->next;
    if (change->next)
        change->next->link = change->link;
    if (stripe->waiting)
        pthread_cond_broadcast(&stripe->ended);
}

/* An empty change is where it starts. */
static bool change_overlaps(const struct change *change, uint64_t start, uint64_t end)
{
    return change->start < end && (start < change->end || start == change->start);
}

static bool stripe_overlaps(const struct changes_stripe *stripe, const struct node *node,
                            uint64_t start, uint64_t end)
{
    for (const struct change *change = stripe->first; change; change = change->next)
        if (change->node == node && change_overlaps(change, start, end))
            return true;
    return false;
}

void changes_await(struct changes *changes, const struct node *node, uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < CHANGES_STRIPES; i++) {
        struct changes_stripe *stripe = &changes->stripes[i];
        LOCK_GUARD(&stripe->lock);
        stripe->waiting++;
        while (stripe_overlaps(stripe, node, start, end))
            condition_wait(&stripe->ended, &stripe->lock);
        stripe->waiting--;
    }
}

size_t changes_count(struct changes *changes, const struct node *node)
{
    size_t count = 0;
    for (size_t i = 0; i < CHANGES_STRIPES; i++) {
        struct changes_stripe *stripe = &changes->stripes[i];
        LOCK_GUARD(&stripe->lock);
        for (const struct change *change = stripe->first; change; change = change->next)
            count += change->node == node;
    }
    return count;
}
