/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of devices. Private to block/. Any thread.
 */
#ifndef BLOCK_DEVICE_REGISTRY_H
#define BLOCK_DEVICE_REGISTRY_H

#include "block/block.h"
#include "block/device/object.h"

/* The device of that name, exported or not, or NULL. The lock is held. */
struct device *registry_find_locked(struct block *block, const char *name);

/* The same, once no group returns it any more (group_announce_release()): so who has read that the
 * group is committed finds the device free. */
struct device *registry_await_locked(struct block *block, const char *name);

/* Waits until no job merges the live top of a device that the caller holds. The lock is held, but
 * while it waits. */
void device_await_collapse_locked(struct block *block, struct device *device);

/* Takes the device out of the list. The lock is held. */
void registry_remove_locked(struct block *block, struct device *device);

/* Reserves the name: a new device without a chain, in the list, not exported. NULL and *err:
 * DeviceExists, OutOfResources. */
struct device *registry_reserve(struct block *block, const struct device_spec *spec,
                                struct err *err);

/* Takes the device out of the list, waits until `lookers` is 0, and frees it. */
void registry_drop(struct block *block, struct device *device);

#endif
