/* SPDX-License-Identifier: Apache-2.0
 *
 * See events.h.
 */
#include "service/events.h"

#include "service/clock.h"
#include "service/context.h"
#include "store/events.h"

const struct origin origin_daemon = {.actor = "snapgroupd"};

static struct event_row event_row(const struct origin *origin, enum event_kind kind,
                                  const char *device, const char *group_id, const char *detail)
{
    return (struct event_row){
        .at_us = clock_now_us(),
        .kind = kind,
        .device = (char *)device,
        .group_id = (char *)group_id,
        .actor = (char *)origin->actor,
        .request_id = *origin->request_id ? (char *)origin->request_id : NULL,
        .detail = (char *)detail,
    };
}

int event_record(struct store_transaction *transaction, const struct origin *origin,
                 enum event_kind kind, const char *device, const char *group_id, struct err *err)
{
    if (kind == EVENT_KIND_COUNT)
        return 0;
    struct event_row row = event_row(origin, kind, device, group_id, NULL);
    return store_event_insert(transaction, &row, err);
}

int event_record_group(struct store_transaction *transaction, const struct origin *origin,
                       enum event_kind kind, const char *group_id, const char *detail,
                       struct err *err)
{
    struct event_row row = event_row(origin, kind, NULL, group_id, detail);
    return store_event_insert(transaction, &row, err);
}

int event_record_job(struct store_transaction *transaction, const struct origin *origin,
                     enum event_kind kind, const char *job, const char *group_id, struct err *err)
{
    struct event_row row = event_row(origin, kind, NULL, group_id, NULL);
    row.job = (char *)job;
    return store_event_insert(transaction, &row, err);
}

int event_record_detail(struct store_transaction *transaction, const struct origin *origin,
                        enum event_kind kind, const char *detail, struct err *err)
{
    struct event_row row = event_row(origin, kind, NULL, NULL, detail);
    return store_event_insert(transaction, &row, err);
}

int event_record_grown(struct store_transaction *transaction, const struct origin *origin,
                       const char *group_id, struct err *err)
{
    struct event_row row = event_row(origin, EVENT_DEVICE_RESIZED, NULL, group_id, NULL);
    return store_event_insert_grown(transaction, &row, err);
}

int event_report(struct service *service, const struct origin *origin, enum event_kind kind,
                 const char *device, const char *detail, struct err *err)
{
    struct event_row row = event_row(origin, kind, device, NULL, detail);
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_event_insert(transaction, &row, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}
