/* SPDX-License-Identifier: Apache-2.0
 *
 * How an export reaches devices: by name, counted, so that detach can refuse while a client is
 * connected. Any thread.
 */
#ifndef BLOCK_DEVICE_EXPORTS_H
#define BLOCK_DEVICE_EXPORTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct device;
struct frozen;

/* Finds an exported device, or opens a frozen member ("vda@group", read-only), and counts one user.
 * NULL and *err: DeviceNotFound, DeviceFailed, OpenFileFailed, InvalidBlockFormat. */
struct device *export_use(struct block *block, const char *name, struct err *err);
void export_unuse(struct block *block, struct device *device);

/* Whether there is such an export, without opening anything: 0, or -1 and *err as above. */
int export_check(struct block *block, const char *name, struct err *err);

/* How far a list has got; begins as zeros. Exports may come and go between two calls: none that
 * stays is left out or named twice. */
struct export_cursor {
    uint64_t device, frozen; /* the last ones' serial numbers */
};

/* Calls `each` for the name of every export that the cursor has not passed yet, devices first.
 * Stops at the first non-zero, which it returns, and comes back to that name. A lock that all
 * exports need is held: `each` waits for nothing and stops soon. */
int export_list(struct block *block, struct export_cursor *cursor,
                int (*each)(void *arg, const char *name), void *arg);

void frozen_free(struct frozen *frozen);

#endif
