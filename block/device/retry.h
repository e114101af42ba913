/* SPDX-License-Identifier: Apache-2.0
 *
 * Reopening of failed devices. Private to block/. Any thread.
 */
#ifndef BLOCK_DEVICE_RETRY_H
#define BLOCK_DEVICE_RETRY_H

#include "base/err.h"

#include <stdbool.h>

struct block;
struct device;

void retry_init(struct block *block);

/* Schedules retries for a device that is in the list, has no chain, and failed to open by
 * `cause`. */
void retry_begin(struct block *block, struct device *device, const struct err *cause);

/* If the device of that name is waiting for a retry, retries now and waits for the result, for a
 * few seconds at most. The lock is not held. */
void retry_now(struct block *block, const char *name);

/* Waits as long for an attempt that is under way or requested. The lock is held on entry and
 * return, but released meanwhile. */
void retry_wait_locked(struct block *block, const char *name);

/* Whether the device may come online without anybody's help. The lock is held. */
bool retry_is_scheduled(const struct device *device);

/* Whether an attempt to open the device is under way. The lock is held. */
bool retry_is_opening(const struct device *device);

/* Removes a device that is being opened from the list; the attempt frees it. The lock is held. */
void retry_abandon_locked(struct block *block, struct device *device);

/* Stops retries. False if an attempt is still under way after a few seconds: the objects that it
 * uses must not be freed. */
bool retry_stop(struct block *block);

#endif
