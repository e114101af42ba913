/* SPDX-License-Identifier: Apache-2.0
 *
 * The last flush of all devices, side by side, when the block layer stops. Private to block/.
 */
#ifndef BLOCK_DEVICE_LAST_FLUSH_H
#define BLOCK_DEVICE_LAST_FLUSH_H

#include "base/err.h"

struct block;

/* Flushes every device that is open and has not failed; each flush has `limit_ms`, so one that
 * hangs delays no other. 0; -1 and *err: one failed, or (*hangs) did not end: threads still use the
 * devices, so nothing of the block layer may be freed, and the process must exit. */
int devices_flush_last(struct block *block, unsigned limit_ms, bool *hangs, struct err *err);

#endif
