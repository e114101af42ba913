/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `members`: the parts of a group's row, by position. Called by groups.c alone, within
 * its transaction or query. Private to store/.
 */
#ifndef STORE_MEMBERS_H
#define STORE_MEMBERS_H

#include "store/connection.h"
#include "store/group-row.h"
#include "store/row.h"

void member_rows_free(struct member_row *members, size_t count);

/* Fills members and member_count of the row with that id; nothing on failure. */
int members_load(struct connection *reader, struct group_row *row, struct err *err);

/* Inserts the row's members; the id of each member's device, and, if the group is `preparing`, the
 * image of its top are looked up by name. */
int members_insert(struct connection *writer, const struct group_row *row, struct err *err);

/* Records the identities that are known; those recorded before stay. */
int members_update_identities(struct connection *writer, const struct group_row *row,
                              struct err *err);

/* Records that the members that are settled are, with their pause and copy wait, and moves the tops
 * of their devices; those recorded before stay. */
int members_update_settled(struct connection *writer, const struct group_row *row, struct err *err);

/* The same of all members. */
int members_update_committed(struct connection *writer, const struct group_row *row,
                             struct err *err);

#endif
