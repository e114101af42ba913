/* SPDX-License-Identifier: Apache-2.0
 *
 * Who replaces what others look at waits for those who entered before, and for nobody else: threads
 * look at a value all the time while another replaces it, waits, and spoils the old one.
 */
#include "block/device/readers.h"
#include "tests/lib/testlib.h"

#include <pthread.h>
#include <stdlib.h>

enum { LOOKERS = 6, ROUNDS = TEST_SANITIZED ? 300 : 3000, GOOD = 1, SPOILT = 2 };

struct shared {
    struct readers readers;
    int *_Atomic value; /* at GOOD for as long as somebody may look at it */
    atomic_bool is_over;
    atomic_uint looks, spoilt;
};

static int shared_begin(void **state)
{
    struct shared *shared = aligned_alloc(64, (sizeof(*shared) + 63) / 64 * 64);
    readers_init(&shared->readers);
    atomic_init(&shared->value, NULL);
    atomic_init(&shared->is_over, false);
    atomic_init(&shared->looks, 0);
    atomic_init(&shared->spoilt, 0);
    *state = shared;
    return 0;
}

static int shared_end(void **state)
{
    struct shared *shared = *state;
    readers_destroy(&shared->readers);
    free(shared);
    return 0;
}

static const struct fixture fixture = {.begin = shared_begin, .end = shared_end};

static int *value_new(void)
{
    int *value = malloc(sizeof(*value));
    *value = GOOD;
    return value;
}

static void *look(void *arg)
{
    struct shared *shared = arg;
    while (!atomic_load(&shared->is_over)) {
        unsigned set = readers_enter(&shared->readers);
        const int *value = atomic_load(&shared->value);
        for (int i = 0; i < 50; i++)
            if (*(const volatile int *)value != GOOD)
                atomic_fetch_add(&shared->spoilt, 1);
        readers_leave(&shared->readers, set);
        atomic_fetch_add(&shared->looks, 1);
    }
    return NULL;
}

TEST(test_nobody_sees_the_old_one)
{
    struct shared *shared = *state;
    pthread_t threads[LOOKERS];
    atomic_store(&shared->value, value_new());
    for (size_t i = 0; i < LOOKERS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, look, shared));
    for (unsigned i = 0; i < ROUNDS; i++) {
        int *old = atomic_exchange(&shared->value, value_new());
        readers_wait(&shared->readers);
        *old = SPOILT;
        free(old);
    }
    while (atomic_load(&shared->looks) < LOOKERS)
        ;
    atomic_store(&shared->is_over, true);
    for (size_t i = 0; i < LOOKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(0, atomic_load(&shared->spoilt));
    free(atomic_load(&shared->value));
}

struct waiter {
    struct shared *shared;
    atomic_bool has_waited;
};

static void *wait_for_all(void *arg)
{
    struct waiter *waiter = arg;
    readers_wait(&waiter->shared->readers);
    atomic_store(&waiter->has_waited, true);
    return NULL;
}

/* Whoever enters later enters at once, and is not waited for. */
TEST(test_later_ones_count_not)
{
    struct shared *shared = *state;
    struct waiter waiter = {.shared = shared};
    pthread_t thread;
    unsigned early = readers_enter(&shared->readers);
    assert_int_equal(0, pthread_create(&thread, NULL, wait_for_all, &waiter));
    unsigned late;
    while ((late = readers_enter(&shared->readers)) == early) /* until the other set is current */
        readers_leave(&shared->readers, late);
    assert_false(atomic_load(&waiter.has_waited));
    readers_leave(&shared->readers, early);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&waiter.has_waited));
    readers_leave(&shared->readers, late);
    readers_wait(&shared->readers);
}
