/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables `groups` and `members`: rows and queries. See store.h for their rules.
 */
#ifndef STORE_GROUPS_H
#define STORE_GROUPS_H

#include "base/err.h"
#include "store/group-row.h"
#include "store/limits.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_transaction;

const char *group_state_name(enum group_state state); /* "preparing" and so on */
const char *group_kind_name(enum group_kind kind);    /* "snapshot" and so on */

/* The state that is shown: that of the row, or GROUP_STATE_CUT while it says `committing` and the
 * cut is recorded (store_group_update_cut). */
bool group_row_is_cut(const struct group_row *row);
const char *group_row_state_name(const struct group_row *row);

/* The group's member of that device, or NULL. */
struct member_row *group_row_member(const struct group_row *row, const char *device);

void group_row_clear(struct group_row *row);

/* Inserts the group with its members, in state GROUP_PREPARING or (a failed attempt) GROUP_ABORTED.
 * GroupExists: a group that is neither aborting nor aborted has this name. DeviceInUse: another
 * group of one of the devices is `committing`, and has that member not settled. GroupNotFound: the
 * group to which a rollback goes back is not committed. Deletes a few failed attempts and deleted
 * groups that are too many or too old. */
int store_group_insert(struct store_transaction *transaction, const struct group_row *row,
                       struct err *err);

/* preparing -> committing. In the same transaction each member's backing_identity and
 * snapshot_identity are recorded, by position, and `frozen`; those recorded before stay. */
int store_group_update_committing(struct store_transaction *transaction,
                                  const struct group_row *row, struct err *err);

/* Of a group that stays committing: its cut is made. `row` gives id, has_cut, cut_at_us, pause_us,
 * and of each member, by position, is_settled, pause and copy wait. In the same transaction each
 * settled member's snapshot_file, with its identity, becomes the top of its device, if that is
 * still the image that was frozen. May be called again with more members settled. */
int store_group_update_cut(struct store_transaction *transaction, const struct group_row *row,
                           struct err *err);

/* committing -> committed, or deleted if it only cuts, with all members settled, those recorded
 * before included. `row` gives that, and has_sealed, sealed_us, has_duration, duration_us. */
int store_group_update_committed(struct store_transaction *transaction, const struct group_row *row,
                                 struct err *err);

/* preparing -> aborting -> aborted, with the error of `row` (aborted keeps the one recorded before
 * if !row->has_error). */
int store_group_update_aborting(struct store_transaction *transaction, const struct group_row *row,
                                struct err *err);
int store_group_update_aborted(struct store_transaction *transaction, const struct group_row *row,
                               struct err *err);

/* Of a committed group that still has row->revision, no holds and no copies under way: to deleting;
 * a group that is deleting already stays so, for another job. What it needed, it needs no longer.
 * 1; 0: not so; -1: *err. */
int store_group_update_deleting(struct store_transaction *transaction, const struct group_row *row,
                                struct err *err);

/* deleting -> deleted: its name is free. */
int store_group_update_deleted(struct store_transaction *transaction, const struct group_row *row,
                               struct err *err);

/* As store_device_update(). */
int store_group_update_labels(struct store_transaction *transaction, const struct group_row *row,
                              struct err *err);

/* By id, or by the name of a group that is neither aborting nor aborted. GroupNotFound. */
int store_group_get(struct store *store, const char *id_or_name, struct group_row *row,
                    struct err *err);

/* Newest first, up to `limit` groups with a sequence below `before` (0: from the newest); fewer, if
 * they take more than a page may, or if many had to be looked at (group-list.h). *next: the
 * `before` that goes on; 0: there are no more. */
int store_group_list(struct store *store, const struct group_list_filter *filter, uint64_t before,
                     size_t limit, struct group_row **rows, size_t *count, uint64_t *next,
                     struct err *err);

/* Oldest first, up to `limit` groups in that state later than `after` (a `sequence`; 0: of all);
 * fewer, if they take more than a page may, but none only if there are no more. */
int store_group_list_oldest(struct store *store, enum group_state state, uint64_t after,
                            size_t limit, struct group_row **rows, size_t *count, struct err *err);
void group_rows_free(struct group_row *rows, size_t count);

/* When the last group of all that are kept was committed or given up; 0: there is none. */
int store_group_newest(struct store *store, uint64_t *at_us, struct err *err);

/* The last group that was deleted, but whose frozen image is there still, since something
 * else needed it. 1: its id; 0: there is none; -1: *err. */
int store_group_find_deleted(struct store *store, const char *image, char id[STORE_ID_CHARS + 1],
                             struct err *err);

#endif
