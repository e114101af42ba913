/* SPDX-License-Identifier: Apache-2.0
 *
 * Resizing: a device grows. It is cut, as for a snapshot of its own (snapshot-groups.h), and the
 * overlay is larger than the image that it is put on, past whose end it reads as zeros. So it is
 * durable, and whole or not at all, as a group is. Nothing needs the image that is left: the next
 * job that merges images of its tree pushes it down.
 *
 * Clients that are connected keep the size that they were told. Called by device-update.c.
 */
#ifndef SERVICE_RESIZES_H
#define SERVICE_RESIZES_H

#include "base/err.h"

#include <stdint.h>

struct origin;
struct service;

/* Gives the device, whose name is held, that size, rounded up to whole sectors. 1: it has it now,
 * and its row has changed; 0: it had it already; -1: *err, and nothing is changed, unless the store
 * failed. Codes: InvalidValue: it is larger, or that is too large; PreconditionFailed: its row has
 * another revision than that, which is 0 where any will do; those of group_begin() and
 * group_prepare(); DeadlineExceeded, StoreFailed, OutOfResources. */
int resize_run(struct service *service, const char *device, uint64_t size_bytes, uint64_t revision,
               const struct origin *origin, struct err *err);

#endif
