/* SPDX-License-Identifier: Apache-2.0
 *
 * See admission.h.
 */
#include "service/admission.h"

#include "service/context.h"
#include "service/unsettled.h"

#include <assert.h>

int service_call_begin(struct service_call *call, struct service *service, struct err *err)
{
    if (atomic_fetch_add(&service->calls, 1) >= SERVICE_CALLS_MAX) {
        atomic_fetch_sub(&service->calls, 1);
        return err_set(err, ErrOutOfResources, 0, "%d calls are running already; try again",
                       SERVICE_CALLS_MAX);
    }
    assert(!call->service);
    call->service = service;
    return 0;
}

void service_call_end(struct service_call *call)
{
    if (!call->service)
        return;
    unsigned before = atomic_fetch_sub(&call->service->calls, 1);
    assert(before > 0);
    (void)before;
}

int service_check_ready(struct service *service, struct err *err)
{
    if (!atomic_load(&service->ready))
        return err_set(err, ErrNotReady, 0, "the daemon is starting; try again");
    return unsettled_resolve(service, err);
}

int service_probe_ready(struct service *service, struct err *err)
{
    if (!atomic_load(&service->ready))
        return err_set(err, ErrNotReady, 0, "the daemon is starting; try again");
    struct err cause;
    if (block_check_image_dir(service->block, &cause) != 0)
        return err_set(err, ErrNotReady, 0, "%s", cause.message);
    return unsettled_probe(service, err);
}
