/* SPDX-License-Identifier: Apache-2.0
 *
 * Collapsing: the live top of a device, `upper`, is merged into the frozen image right beneath it,
 * `base`, while clients read and write, and base is the top then.
 *
 *   merge_open --> collapse_begin --> collapse_copy, ...  until all is copied
 *              --> collapse_hold     both are durable, and the same to clients: the caller
 *                                    records that base is the top
 *              --> collapse_commit   it is recorded: requests go on with base
 *                  collapse_release  it is not: as before collapse_hold()
 *              --> collapse_end --> merge_close
 *
 * The caller records that it begins before collapse_begin(). From then on every change of the
 * device is made in both images, and every flush is one of both, so that, whichever of them is
 * recorded as the top when a daemon is killed or the machine loses power, all that was
 * acknowledged, or flushed, is in it:
 *
 *   L1. Until the record, base is written only where upper holds data or zeros: M1 in merge.h. If
 *       the collapse ends without it, base is a frozen image under its mask, as when a push is
 *       given up. No assert here: twin.c has it.
 *   L2. The record is made between collapse_hold() and one of the two that follow. No assert: only
 *       the store knows.
 *   L3. An error of base ends the collapse and fails no request; but between collapse_hold() and
 *       what follows it, requests fail with it. No assert: it is the twin's.
 *
 * A group, a rollback, or a detach of the device that comes meanwhile has the collapse end soon,
 * and waits for that. One thread at a time uses a collapse; all functions may block on disks.
 */
#ifndef BLOCK_COLLAPSE_H
#define BLOCK_COLLAPSE_H

#include "block/merge.h"

struct collapse;

/* Whether the device's image is open. 0; 1: there is no such device, or it is being opened; -1 and
 * *err (DeviceFailed). */
int collapse_check(struct block *block, const char *device, struct err *err);

/* Makes base writable, and as large as upper, and each change go to both. What upper holds by then
 * is to be copied, and nothing else, so the copying ends, whatever clients write meanwhile. `merge`
 * stays the caller's, and outlives it. *ret_collapse is to be ended, if it is not NULL. 0; 1: upper
 * is not the top of a device that is free for this, or not that alone; -1 and *err: as
 * merge_begin(), DeviceFailed, OutOfResources. */
int collapse_begin(struct merge *merge, struct collapse **ret_collapse, struct err *err);

/* As merge_copy(), from offset 0. 2: somebody waits for the device, so the collapse is to end. */
int collapse_copy(struct collapse *collapse, uint64_t *offset_bytes, uint64_t *copied_bytes,
                  struct err *err);

/* Whether somebody waits for the device. */
bool collapse_is_wanted(const struct collapse *collapse);

/* What was copied is durable. -1 and *err: as merge_flush(). */
int collapse_flush(struct collapse *collapse, struct err *err);

/* 0; 2 as above; -1 and *err: base has failed, or cannot be marked as written; or upper has, of
 * which clients may have been told what was not copied (DeviceFailed). */
int collapse_hold(struct collapse *collapse, struct err *err);
void collapse_release(struct collapse *collapse);

/* Waits for the requests that have begun. Cannot fail. */
void collapse_commit(struct collapse *collapse);

/* Frees it. After collapse_commit() nothing else is left to do; else base is frozen again as by
 * merge_end(): -1 and *err. */
int collapse_end(struct collapse *collapse, struct err *err);

#endif
