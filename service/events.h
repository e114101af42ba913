/* SPDX-License-Identifier: Apache-2.0
 *
 * Events: every change is recorded, with who caused it, in the transaction that makes it. Any
 * thread.
 */
#ifndef SERVICE_EVENTS_H
#define SERVICE_EVENTS_H

#include "base/err.h"
#include "store/event-row.h"

struct service;
struct store_transaction;

/* Who causes a change, and by which request. A value: work that outlives its request keeps a copy.
 */
struct origin {
    char actor[144];       /* as principal_format() writes it, or "snapgroupd" */
    char request_id[129];  /* "": no request */
    char request_hash[33]; /* what the request is, without who sent it; "": not known */
    char key[129];         /* the request's Idempotency-Key; "": none */
};

/* Of recovery and of work in the background. */
extern const struct origin origin_daemon;

/* The event of a change of that device or group (or NULL), in the transaction of the change. Its
 * detail is what the row says (store_event_insert). `kind` EVENT_KIND_COUNT: the change has no
 * event. The errors of the store. */
int event_record(struct store_transaction *transaction, const struct origin *origin,
                 enum event_kind kind, const char *device, const char *group_id, struct err *err);

/* The same of a group, with what `detail`, a JSON object, adds. */
int event_record_group(struct store_transaction *transaction, const struct origin *origin,
                       enum event_kind kind, const char *group_id, const char *detail,
                       struct err *err);

/* The same of a change of a job of that group. */
int event_record_job(struct store_transaction *transaction, const struct origin *origin,
                     enum event_kind kind, const char *job, const char *group_id, struct err *err);

/* The same of a change of neither. `detail`: a JSON object. */
int event_record_detail(struct store_transaction *transaction, const struct origin *origin,
                        enum event_kind kind, const char *detail, struct err *err);

/* The events of devices that grew with the group. */
int event_record_grown(struct store_transaction *transaction, const struct origin *origin,
                       const char *group_id, struct err *err);

/* An event without a change of a row, in a transaction of its own. `detail`: a JSON object or NULL.
 */
int event_report(struct service *service, const struct origin *origin, enum event_kind kind,
                 const char *device, const char *detail, struct err *err);

#endif
