/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission: whether a call may run now. Any thread.
 */
#ifndef SERVICE_ADMISSION_H
#define SERVICE_ADMISSION_H

#include "base/err.h"
#include "service/limits.h"

struct service;

struct service_call {
    struct service *service; /* NULL: none */
};

/* Counts a call. OutOfResources: SERVICE_CALLS_MAX is reached. */
int service_call_begin(struct service_call *call, struct service *service, struct err *err);
void service_call_end(struct service_call *call);

/* Whether a request that needs the store can be served now: NotReady before recovery is done,
 * StoreFailed while the store cannot be reopened. Settles queued work first (unsettled.h). */
int service_check_ready(struct service *service, struct err *err);

/* The same for a probe: does not wait for other requests. */
int service_probe_ready(struct service *service, struct err *err);

#endif
