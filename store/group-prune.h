/* SPDX-License-Identifier: Apache-2.0
 *
 * Deleting groups that are only history: failed attempts, groups that were deleted, and cuts that
 * have ended. Called by groups.c alone, within its transaction. Private to store/.
 */
#ifndef STORE_GROUP_PRUNE_H
#define STORE_GROUP_PRUNE_H

#include "store/access.h"

/* Deletes a few of the oldest of each kind that are too many or too old; a clock that goes back
 * keeps some for longer. Deleted groups and cuts to which another row refers stay: a device that
 * came from one, a rollback to it, a job, the key of a request. */
int groups_prune(struct store_transaction *transaction, uint64_t now_us, struct err *err);

#endif
