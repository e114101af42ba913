/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding the groups of a page. Private to store/; groups.c loads what is found.
 *
 *   filter           driven by
 *   name, device,    group_terms (kind, key, value, sequence): the first of them that is given;
 *   labels           the others are looked up there for each group
 *   state            the index groups_state, unless one of those is given
 *   none             the index groups_sequence
 *   created_...      the range of sequence numbers that it can have, found in groups_created; if
 *                    the clock was set back, groups_late has those that it must reach to
 *
 * Every query walks one index from the cursor on, so the cost does not depend on how far on that
 * is. A page looks at GROUP_SCAN_ROWS entries at most: with several filters it may have fewer items
 * than asked for, or none, though the list goes on.
 */
#ifndef STORE_GROUP_LIST_H
#define STORE_GROUP_LIST_H

#include "store/connection.h"
#include "store/group-row.h"
#include "store/row.h"

#define GROUP_SCAN_ROWS      1000
#define GROUP_LIST_SQL_BYTES 4096

/* Writes the query for the filter. */
void group_list_sql(const struct group_list_filter *filter, char sql[GROUP_LIST_SQL_BYTES]);

/* Up to `limit` sequence numbers below `before` (0: from the newest), the largest first. *next: the
 * number to go on below, 0 at the end. */
int group_list_find(struct connection *reader, const struct group_list_filter *filter,
                    uint64_t before, size_t limit, uint64_t *sequences, size_t *count,
                    uint64_t *next, struct err *err);

#endif
