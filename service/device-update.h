/* SPDX-License-Identifier: Apache-2.0
 *
 * Changing what an attached device's row says of its owner's wishes: labels, and the clients that
 * may open its exports; and its size (resizes.h). As labels.h has it, the row is written only if it
 * is still the one that was read. Row and event are one commit; the block layer follows, and after
 * StoreFailed as soon as the row can be read (unsettled.h). A new size comes first, in a commit of
 * its own: if it is refused, nothing is changed. Any thread.
 */
#ifndef SERVICE_DEVICE_UPDATE_H
#define SERVICE_DEVICE_UPDATE_H

#include "service/device-views.h"
#include "service/labels.h"

struct device_changes {
    const struct origin *origin;
    const struct condition *condition; /* or NULL */
    uint64_t size_bytes;               /* the wanted size, as it was asked for; 0: it stays */
    void *context;
    /* Changes `labels` and `allowed_clients` of the row, whose texts are heap. 0, or -1 and *err;
     * it may be called again with another row. */
    int (*apply)(void *context, struct device_row *row, struct err *err);
};

/* `view` is the device afterwards, before anybody can detach it; to be cleared in every case.
 * DeviceNotFound, PreconditionFailed, and the codes of `apply`, the store and resize_run(). */
int devices_change(struct service *service, const char *name, const struct device_changes *change,
                   struct device_view *view, struct err *err);

#endif
