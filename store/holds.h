/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `holds`: names that keep a group from being deleted. See store.h for the rules of
 * queries. A group's row has the names (group_row.holds), and each change counts up its revision.
 */
#ifndef STORE_HOLDS_H
#define STORE_HOLDS_H

#include "base/err.h"
#include "store/group-row.h"
#include "store/row.h"

#include <stdint.h>

struct store_transaction;

/* Both change the holds of the group with row->id, if it still has row->revision. 1; 0: not so, or
 * the group is gone; -1: *err. */
int store_hold_insert(struct store_transaction *transaction, const struct group_row *row,
                      const char *name, uint64_t now_us, struct err *err);
int store_hold_delete(struct store_transaction *transaction, const struct group_row *row,
                      const char *name, struct err *err);

#endif
