/* SPDX-License-Identifier: Apache-2.0
 *
 * See leftovers.h. The thread starts with the first entry.
 *
 * Invariants:
 *   I1. Only the thread removes an entry, so the one that it retries without the lock stays.
 *   I2. An id is in the list once.
 *   I3. Nothing is retried before recovery is done, which changes the same rows.
 */
#include "service/leftovers.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DELAY_S = 1 };

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

/* Waits for the next round, or the end. */
static void leftovers_wait_locked(struct service *service)
{
    const struct timespec until = clock_monotonic_at(clock_monotonic_us() + DELAY_S * 1000000ULL);
    while (!service->leftovers_end &&
           pthread_cond_clockwait(&service->leftovers_changed, &service->leftovers_lock,
                                  CLOCK_MONOTONIC, &until) == 0)
        continue;
}

static void leftovers_retry_locked(struct service *service)
{
    assert(atomic_load(&service->ready)); /* I3 */
    for (struct leftover *leftover = service->leftovers, *next; leftover && !service->leftovers_end;
         leftover = next) {
        pthread_mutex_unlock(&service->leftovers_lock);
        bool is_done = leftover->retry(service, leftover);
        pthread_mutex_lock(&service->leftovers_lock);
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
    if (*end)
        return;
    if (cause)
        log_error("%s; it is retried", cause->message);
    if (!name)
        name = "";
    struct leftover *copy = malloc(sizeof(*copy) + strlen(name) + 1);
    if (copy) {
        *copy = (struct leftover){.retry = retry};
        snprintf(copy->id, sizeof(copy->id), "%s", id);
        memcpy(copy->name, name, strlen(name) + 1);
        *end = copy;
    }
    if (copy && !service->leftovers_started &&
        pthread_create(&service->leftovers_thread, NULL, leftovers_run, service) == 0) {
        pthread_setname_np(service->leftovers_thread, "leftovers");
        service->leftovers_started = true;
    }
    if (!copy || !service->leftovers_started)
        log_error("there is no memory or thread for the retry; a restart tries again");
}

void leftovers_close(struct service *service)
{
    pthread_mutex_lock(&service->leftovers_lock);
    service->leftovers_end = true;
    pthread_cond_broadcast(&service->leftovers_changed);
    pthread_mutex_unlock(&service->leftovers_lock);
    if (service->leftovers_started)
        pthread_join(service->leftovers_thread, NULL);
    for (struct leftover *next; service->leftovers; service->leftovers = next) {
        next = service->leftovers->next;
        free(service->leftovers);
    }
}
