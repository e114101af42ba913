/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers: who may look at a chain or an index that is about to be replaced. Private to block/.
 *
 *     readers_enter --> look, read, change, flush --> readers_leave
 *
 *     what they look at is replaced --> readers_wait --> the old one is freed
 *
 * The idea is that of sleepable RCU: there are two sets, one of them current. Who enters counts in
 * the current set. Who waits waits for the stragglers of the other set, makes it the current one,
 * and waits until the set that was current is empty. Nobody who enters ever waits.
 *
 *   S1. After readers_wait() everybody has left who had entered before it was called. Who enters
 *       later finds what was stored before the call: counting and looking are sequentially
 *       consistent on both sides. No assert: only the counters know them.
 *   S2. Who enters leaves in the same thread, so each stripe's count is exact by itself.
 *
 * A thread counts in a stripe of its own, mostly, so that threads do not share a cache line.
 */
#ifndef BLOCK_DEVICE_READERS_H
#define BLOCK_DEVICE_READERS_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { READERS_STRIPES = 8 };

struct readers_stripe {
    alignas(64) atomic_uint inside[2];
};

struct readers {
    struct readers_stripe stripes[READERS_STRIPES];
    alignas(64) atomic_uint current; /* the set of those who enter: 0 or 1 */
    pthread_mutex_t lock;            /* one thread waits at a time */
    pthread_mutex_t leaving;         /* of `left` */
    pthread_cond_t left;             /* somebody left while a thread waits */
    atomic_bool is_awaited;
};

void readers_init(struct readers *readers);
void readers_destroy(struct readers *readers); /* nobody is in */

/* Returns what readers_leave() is to be given. Never waits. */
unsigned readers_enter(struct readers *readers);
void readers_leave(struct readers *readers, unsigned set);

/* One of the readers until the enclosing scope ends. */
#define READERS_GUARD(readers)          READERS_GUARD_NAMED(readers, __COUNTER__)
#define READERS_GUARD_NAMED(readers, n) READERS_GUARD_PASTED(readers, n)
#define READERS_GUARD_PASTED(readers, n)                                                           \
    __attribute__((cleanup(readers_guard_end), unused)) struct readers_guard readers_guard_##n = { \
        (readers), readers_enter(readers)}

struct readers_guard {
    struct readers *readers;
    unsigned set;
};
static inline void readers_guard_end(struct readers_guard *guard)
{
    readers_leave(guard->readers, guard->set);
}

/* Waits until all who are in now have left. */
void readers_wait(struct readers *readers);

#endif
