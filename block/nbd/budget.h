/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that the connections of a server share. Every connection has a small part of its own,
 * NBD_OWN_BYTES each for input, for output and for its tasks in the pool; what it needs beyond
 * that, for large requests and for many, it takes from the budget and gives back afterwards:
 *
 *      connections * 3 * NBD_OWN_BYTES  +  limit_bytes  >=  memory for requests and replies
 *
 * Nobody ever waits for the budget, so it does not matter for how long others keep what they have
 * taken (a client may send half a request and sleep): a large request for which there is nothing
 * left is executed piece by piece within its connection's own part (nbd/pieces.c).
 */
#ifndef BLOCK_NBD_BUDGET_H
#define BLOCK_NBD_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define NBD_OWN_BYTES ((size_t)512 << 10)

/* Any thread. What is counted guards nothing, so no order is needed. */
struct nbd_budget {
    atomic_size_t limit_bytes; /* a test changes it */
    atomic_size_t taken_bytes;
};

/* All of it or, if less is left, nothing. */
static inline bool nbd_budget_take(struct nbd_budget *budget, size_t bytes)
{
    size_t limit = atomic_load_explicit(&budget->limit_bytes, memory_order_relaxed);
    size_t taken = atomic_load_explicit(&budget->taken_bytes, memory_order_relaxed);
    do {
        if (taken > limit || bytes > limit - taken)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->taken_bytes, &taken, taken + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static inline void nbd_budget_give_back(struct nbd_budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->taken_bytes, bytes, memory_order_relaxed);
}

/* Whether something may be kept for the next request. */
static inline bool nbd_budget_is_plenty(const struct nbd_budget *budget)
{
    return atomic_load_explicit(&budget->taken_bytes, memory_order_relaxed) <=
           atomic_load_explicit(&budget->limit_bytes, memory_order_relaxed) / 2;
}

/* For somebody who has `*granted` bytes and wants `wanted`: takes the difference, if there is
 * one. */
static inline bool nbd_budget_raise(struct nbd_budget *budget, size_t *granted, size_t wanted)
{
    if (wanted <= *granted)
        return true;
    if (!nbd_budget_take(budget, wanted - *granted))
        return false;
    *granted = wanted;
    return true;
}

/* The other way: gives back what is above `wanted` and above one's own. */
static inline void nbd_budget_lower(struct nbd_budget *budget, size_t *granted, size_t wanted)
{
    size_t kept = wanted < NBD_OWN_BYTES ? NBD_OWN_BYTES : wanted;
    if (*granted <= kept)
        return;
    nbd_budget_give_back(budget, *granted - kept);
    *granted = kept;
}

#endif
