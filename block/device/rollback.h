/* SPDX-License-Identifier: Apache-2.0
 *
 * What a rollback does in its own way. Private to device/. Called by the thread that runs the
 * group.
 *
 *   begin -> overlays, each on an image frozen before -> rollback_disconnect -> flush
 *         -> `committing` is recorded -> rollback_exchange -> finish
 *
 *   B1. The members have no client from the flush of their old tops until all have their new
 *       chains: no request sees old content after one saw new content.
 */
#ifndef BLOCK_DEVICE_ROLLBACK_H
#define BLOCK_DEVICE_ROLLBACK_H

#include "block/device/member.h"

/* Waits until no member has a client. What they wrote to the last is to be flushed. -1 and *err:
 * DeviceInUse. */
int rollback_disconnect(struct group *group, size_t *failed_member, struct err *err);

/* In the place of the cut: all members get their new chains. Memory only; cannot fail. */
void rollback_exchange(struct group *group, uint64_t *cut_at_us);

/* Closes the member's old chain, whose top is frozen. Any thread. */
void rollback_finish(struct member *member);

#endif
