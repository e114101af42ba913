/* SPDX-License-Identifier: Apache-2.0
 *
 * leftovers.h: two files on storage that hangs keep their threads, and a third one is removed
 * meanwhile. A thread is blocked as it is by storage; no entry is retried twice at a time. A store
 * that failed, here a model, is opened again before anything is retried.
 */
#include "tests/lib/testlib.h"

#include "service/context.h"
#include "service/leftovers.h"
#include "store/store.h"

#include <semaphore.h>
#include <string.h>

enum { HUNG = 2 };

static sem_t hung, go, done;
static atomic_int retries[HUNG];

static atomic_bool store_failed;
static atomic_int reopened;

bool store_is_failed(struct store *store)
{
    (void)store;
    return atomic_load(&store_failed);
}

int store_reopen(struct store *store, struct err *err)
{
    (void)store;
    atomic_store(&store_failed, atomic_fetch_add(&reopened, 1) == 0); /* at the second attempt */
    return atomic_load(&store_failed) ? err_set(err, ErrStoreFailed, 0, "the disk is full") : 0;
}

static bool retry_hung(struct service *service, const struct leftover *leftover)
{
    (void)service;
    assert_int_equal(atomic_fetch_add(&retries[leftover->name[0] - '0'], 1), 0);
    sem_post(&hung);
    sem_wait(&go);
    return true;
}

static bool retry_other(struct service *service, const struct leftover *leftover)
{
    (void)service;
    assert_string_equal(leftover->name, "other");
    assert_false(atomic_load(&store_failed));
    sem_post(&done);
    return true;
}

static void service_init(struct service *service)
{
    *service = (struct service){.leftovers_lock = PTHREAD_MUTEX_INITIALIZER,
                                .settle_lock = PTHREAD_MUTEX_INITIALIZER,
                                .leftovers_changed = PTHREAD_COND_INITIALIZER};
    atomic_store(&service->ready, true);
    sem_init(&hung, 0, 0);
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
}

static void failed_stores_are_opened_before_a_retry(void **state)
{
    struct service service;
    (void)state;
    service_init(&service);
    atomic_store(&store_failed, true);
    leftovers_add(&service, retry_other, "only", "other", NULL);
    sem_wait(&done);
    leftovers_close(&service);
    assert_int_equal(atomic_load(&reopened), 2);
}

static void hung_leftovers_hold_no_other_up(void **state)
{
    struct service service;
    (void)state;
    service_init(&service);
    leftovers_add(&service, retry_hung, "first", "0", NULL);
    leftovers_add(&service, retry_hung, "second", "1", NULL);
    for (int i = 0; i < HUNG; i++)
        sem_wait(&hung);
    leftovers_add(&service, retry_other, "third", "other", NULL);
    sem_wait(&done);
    for (int i = 0; i < HUNG; i++)
        sem_post(&go);
    leftovers_close(&service);
    assert_null(service.leftovers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_stores_are_opened_before_a_retry),
        cmocka_unit_test(hung_leftovers_hold_no_other_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
