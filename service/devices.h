/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices: attach, create, detach. The store's row and the block layer's device are changed in an
 * order that lets a restart finish or undo whatever was under way:
 *
 *   attach   open (block), insert the row, export
 *   create   insert the row CREATING, create the image, open it, row ATTACHED, remove the image's
 *            marking name, export. A row CREATING: the image is to be removed
 *   clone    the same on top of a frozen image (clones.h), which has no marking name: its header
 *            has the device's id
 *   detach   row DETACHING, flush and close (block), delete the row. A row DETACHING: the device
 *            goes, now or at the restart. If the device cannot be closed, the row says ATTACHED
 *            again; a detach that is refused changes nothing. If the top is to go, the row has the
 *            id in its header, and it goes before it is closed
 *
 * Any thread. Changes of one name happen one at a time.
 */
#ifndef SERVICE_DEVICES_H
#define SERVICE_DEVICES_H

#include "service/device-request.h"
#include "service/device-views.h"

struct condition;
struct origin;
struct service;

/* Codes: DeviceExists, DeviceInUse, OpenFileFailed, InvalidBlockFormat, UnflushedData, StoreFailed,
 * OutOfResources; InvalidValue: the clusters are too small for the size; of a clone also
 * GroupNotFound and DeviceNotFound. */
int devices_add(struct service *service, const struct device_request *wanted,
                struct device_view *view, enum device_part *part, struct err *err);

/* How a device is detached. */
struct device_detach {
    bool discard_unflushed; /* data that cannot be flushed are discarded */
    bool deletes_top;       /* its top goes, which this daemon made; without the other */
};

/* `condition` (labels.h) or NULL. Codes: DeviceNotFound, DeviceInUse, UnflushedData,
 * PreconditionFailed, StoreFailed; with `deletes_top` also ImageIsKept, DeviceFailed,
 * OpenFileFailed. */
int devices_remove(struct service *service, const char *name, const struct device_detach *how,
                   const struct origin *origin, const struct condition *condition, struct err *err);

/* Opens and exports the device of a row, or a failed one instead. For recovery. */
void devices_restore(struct service *service, const struct device_row *row);

#endif
