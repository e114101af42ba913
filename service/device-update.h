/* SPDX-License-Identifier: Apache-2.0
 *
 * Changing what an attached device's row says of its owner's wishes: labels, and the clients that
 * may open its exports. As labels.h has it, the row is written only if it is still the one that was
 * read. Row and event are one commit; the block layer follows, and after StoreFailed as soon as the
 * row can be read (unsettled.h). Any thread.
 */
#ifndef SERVICE_DEVICE_UPDATE_H
#define SERVICE_DEVICE_UPDATE_H

#include "service/labels.h"

struct device_change {
    const struct origin *origin;
    const struct condition *condition; /* or NULL */
    void *context;
    /* Changes `labels` and `allowed_clients` of the row, whose texts are heap. 0, or -1 and *err;
     * it may be called again with another row. */
    int (*apply)(void *context, struct device_row *row, struct err *err);
};

/* DeviceNotFound, PreconditionFailed, and the codes of `apply` and the store. */
int devices_change(struct service *service, const char *name, const struct device_change *change,
                   struct err *err);

#endif
