/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue of unsettled work. See unsettled.h.
 */
#include "service/unsettled.h"

#include "base/log.h"
#include "service/context.h"

/* One retry, for a failure that reopening cures; more would delay every other call. */
#define SETTLE_TRIES 2

bool unsettled_is_due(const struct err *err)
{
    return err_is_of_store(err) || err->code == ErrOutOfResources;
}

static void unsettled_append_locked(struct service *service, struct unsettled *work)
{
    struct unsettled **end = &service->unsettled;
    while (*end)
        end = &(*end)->next;
    work->next = NULL;
    *end = work;
    atomic_store(&service->is_unsettled, true);
}

static int unsettled_resolve_locked(struct service *service, struct err *err)
{
    if (store_is_failed(service->store)) {
        if (store_reopen(service->store, err) != 0)
            return -1;
        log_info("the store is open again");
    }
    while (service->unsettled) {
        struct unsettled *work = service->unsettled;
        if (work->settle(service, work, err) != 0)
            return -1;
        service->unsettled = work->next;
        work->free(work);
    }
    atomic_store(&service->is_unsettled, false);
    return 0;
}

int unsettled_probe(struct service *service, struct err *err)
{
    if (!store_is_failed(service->store) && !atomic_load(&service->is_unsettled))
        return 0;
    if (pthread_mutex_trylock(&service->settle_lock) != 0)
        return err_set(err, ErrStoreFailed, 0, "the database is being opened again");
    int ret = unsettled_resolve_locked(service, err);
    pthread_mutex_unlock(&service->settle_lock);
    return ret;
}

int unsettled_resolve(struct service *service, struct err *err)
{
    LOCK_GUARD(&service->settle_lock);
    return unsettled_resolve_locked(service, err);
}

int unsettled_settle(struct service *service, struct unsettled *work, struct err *err)
{
    LOCK_GUARD(&service->settle_lock);
    for (int i = 0; i < SETTLE_TRIES; i++)
        if (unsettled_resolve_locked(service, err) == 0 && work->settle(service, work, err) == 0)
            return 0;
    log_error("the store cannot be written; changes are refused until it can: %s", err->message);
    unsettled_append_locked(service, work);
    return -1;
}

void unsettled_close(struct service *service)
{
    while (service->unsettled) {
        struct unsettled *work = service->unsettled;
        service->unsettled = work->next;
        work->free(work);
    }
}
