/* SPDX-License-Identifier: Apache-2.0
 *
 * What a subscriber of the events asks for. A value: it outlives its request.
 */
#ifndef SERVICE_HTTP_SUBSCRIPTION_H
#define SERVICE_HTTP_SUBSCRIPTION_H

#include "block/block.h"
#include "store/events.h"

struct subscription {
    uint64_t after;       /* the last event that the client has; 0: none, it wants all */
    enum event_kind kind; /* EVENT_KIND_COUNT: all */
    char device[DEVICE_NAME_MAX + 1]; /* "": all */
    char group[STORE_ID_CHARS + 1];   /* likewise */
};

/* Borrows the subscription. */
static inline struct event_filter subscription_filter(const struct subscription *subscription)
{
    return (struct event_filter){.after = subscription->after,
                                 .kind = subscription->kind,
                                 .device = *subscription->device ? subscription->device : NULL,
                                 .group_id = *subscription->group ? subscription->group : NULL};
}

#endif
