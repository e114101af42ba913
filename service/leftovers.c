/* SPDX-License-Identifier: Apache-2.0
 *
 * See leftovers.h. The first thread starts with the first entry, another one when one retries
 * something and none waits: so what hangs keeps its own thread only.
 *
 * Invariants:
 *   I1. Only the thread that retries an entry, without the lock, removes it, so it stays.
 *   I2. An id is in the list once.
 *   I3. Nothing is retried before recovery is done, which changes the same rows.
 */
#include "service/leftovers.h"

#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { DELAY_S = 1 };

/* Of the leftover that is all that is queued; others have ids of rows. */
static const char QUEUE_ID[] = "queue";

static struct leftover **leftover_find_locked(struct service *service, const char *id)
{
    struct leftover **at = &service->leftovers;
    while (*at && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    return at;
}

static void leftover_remove_locked(struct service *service, struct leftover *leftover)
{
    struct leftover **at = leftover_find_locked(service, leftover->id);
    assert(*at == leftover); /* I1, I2 */
    *at = leftover->next;
    free(leftover);
}

static void *leftovers_run(void *arg);

static void leftovers_start_locked(struct service *service)
{
    pthread_t *thread = &service->leftovers_threads[service->leftovers_started];
    if (service->leftovers_started == LEFTOVER_THREADS ||
        pthread_create(thread, NULL, leftovers_run, service) != 0)
        return;
    pthread_setname_np(*thread, "leftovers");
    service->leftovers_started++;
    service->leftovers_waiting++;
}

/* Waits for the next round, or the end. */
static void leftovers_wait_locked(struct service *service)
{
    const uint64_t until_us = clock_monotonic_us() + DELAY_S * 1000000ULL;
    assert(service->leftovers_waiting <= service->leftovers_started);
    while (!service->leftovers_end &&
           condition_wait_until(&service->leftovers_changed, &service->leftovers_lock, until_us))
        continue;
}

static void leftovers_retry_locked(struct service *service)
{
    struct err ignored;
    assert(atomic_load(&service->ready)); /* I3 */
    for (struct leftover *leftover = service->leftovers, *next; leftover && !service->leftovers_end;
         leftover = next) {
        next = leftover->next;
        if (leftover->is_retried)
            continue;
        leftover->is_retried = true;
        if (--service->leftovers_waiting == 0)
            leftovers_start_locked(service);
        pthread_mutex_unlock(&service->leftovers_lock);
        bool is_done =
            unsettled_resolve(service, &ignored) == 0 && leftover->retry(service, leftover);
        pthread_mutex_lock(&service->leftovers_lock);
        service->leftovers_waiting++;
        is_done = is_done && !leftover->is_added_again;
        leftover->is_retried = leftover->is_added_again = false;
        next = leftover->next;
        if (is_done)
            leftover_remove_locked(service, leftover);
    }
}

static void *leftovers_run(void *arg)
{
    struct service *service = arg;
    LOCK_GUARD(&service->leftovers_lock);
    for (;;) {
        leftovers_wait_locked(service);
        if (service->leftovers_end)
            return NULL;
        if (atomic_load(&service->ready))
            leftovers_retry_locked(service);
    }
}

void leftovers_add(struct service *service,
                   bool (*retry)(struct service *service, const struct leftover *leftover),
                   const char *id, const char *name, const struct err *cause)
{
    LOCK_GUARD(&service->leftovers_lock);
    struct leftover **end = leftover_find_locked(service, id);
    if (*end) {
        (*end)->is_added_again = (*end)->is_retried;
        return;
    }
    if (cause)
        log_error("%s; it is retried", cause->message);
    if (service->leftovers_end)
        return;
    if (!name)
        name = "";
    struct leftover *copy = malloc(sizeof(*copy) + strlen(name) + 1);
    if (copy) {
        *copy = (struct leftover){.retry = retry};
        snprintf(copy->id, sizeof(copy->id), "%s", id);
        memcpy(copy->name, name, strlen(name) + 1);
        *end = copy;
    }
    if (copy && service->leftovers_started == 0)
        leftovers_start_locked(service);
    if (!copy || service->leftovers_started == 0)
        log_error("there is no memory or thread for the retry; a restart tries again");
}

static bool queue_is_settled(struct service *service, const struct leftover *leftover)
{
    (void)leftover;
    return !atomic_load(&service->is_unsettled);
}

int leftovers_settle(struct service *service, struct unsettled *work, struct err *err)
{
    int ret = unsettled_settle(service, work, err);
    if (ret != 0)
        leftovers_add(service, queue_is_settled, QUEUE_ID, NULL, NULL);
    return ret;
}

void leftovers_close(struct service *service)
{
    pthread_mutex_lock(&service->leftovers_lock);
    service->leftovers_end = true;
    pthread_cond_broadcast(&service->leftovers_changed);
    pthread_mutex_unlock(&service->leftovers_lock);
    for (unsigned i = 0; i < service->leftovers_started; i++) /* none starts another any more */
        pthread_join(service->leftovers_threads[i], NULL);
    for (struct leftover *next; service->leftovers; service->leftovers = next) {
        next = service->leftovers->next;
        free(service->leftovers);
    }
}
