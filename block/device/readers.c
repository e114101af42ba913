/* SPDX-License-Identifier: Apache-2.0
 *
 * See readers.h.
 */
#include "block/device/readers.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "block/device/thread-number.h"

#include <assert.h>

void readers_init(struct readers *readers)
{
    for (size_t i = 0; i < READERS_STRIPES; i++)
        for (unsigned set = 0; set < 2; set++)
            atomic_init(&readers->stripes[i].inside[set], 0);
    atomic_init(&readers->current, 0);
    atomic_init(&readers->is_awaited, false);
    pthread_mutex_init(&readers->lock, NULL);
    pthread_mutex_init(&readers->leaving, NULL);
    pthread_cond_init(&readers->left, NULL);
}

void readers_destroy(struct readers *readers)
{
    for (size_t i = 0; i < READERS_STRIPES; i++)
        for (unsigned set = 0; set < 2; set++)
            assert(atomic_load(&readers->stripes[i].inside[set]) == 0);
    pthread_cond_destroy(&readers->left);
    pthread_mutex_destroy(&readers->leaving);
    pthread_mutex_destroy(&readers->lock);
}

static atomic_uint *readers_counter(struct readers *readers, unsigned set)
{
    return &readers->stripes[thread_number() % READERS_STRIPES].inside[set];
}

unsigned readers_enter(struct readers *readers)
{
    unsigned set = atomic_load(&readers->current);
    atomic_fetch_add(readers_counter(readers, set), 1);
    return set;
}

void readers_leave(struct readers *readers, unsigned set)
{
    unsigned before = atomic_fetch_sub(readers_counter(readers, set), 1);
    assert(before > 0); /* S2 */
    (void)before;
    if (!atomic_load(&readers->is_awaited))
        return;
    LOCK_GUARD(&readers->leaving);
    pthread_cond_broadcast(&readers->left);
}

/* Each stripe has been empty once. */
static void readers_await_set(struct readers *readers, unsigned set)
{
    LOCK_GUARD(&readers->leaving);
    for (size_t i = 0; i < READERS_STRIPES; i++)
        while (atomic_load(&readers->stripes[i].inside[set]) != 0)
            condition_wait(&readers->left, &readers->leaving);
}

void readers_wait(struct readers *readers)
{
    LOCK_GUARD(&readers->lock);
    unsigned set = atomic_load(&readers->current);
    atomic_store(&readers->is_awaited, true);
    readers_await_set(readers, !set);
    atomic_store(&readers->current, !set);
    readers_await_set(readers, set);
    atomic_store(&readers->is_awaited, false);
}
