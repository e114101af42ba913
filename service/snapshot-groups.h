/* SPDX-License-Identifier: Apache-2.0
 *
 * Group snapshots: one call freezes many devices at one instant, all or none.
 *
 *   memory (block)                      row (store)
 *   group_begin    resolve, hold
 *                                       insert `preparing`
 *   group_prepare  create overlays
 *                                       `committing`: the point of no return
 *   group_cut      freeze all members at one instant
 *   group_finish_* each member by itself: await changes in flight, sync its frozen image
 *                                       if that takes long: cut, members as they are frozen
 *   group_release_member, of these
 *                                       `committed`, the other devices' tops
 *   group_free     release the others
 *
 * A rollback is taken in the same steps: its overlays are on images that another group froze, and
 * the group that is taken keeps what was there before (block/group.h).
 *
 * An attempt whose member fails at begin or prepare is kept, `aborted`, with its error. From the
 * point of no return, or the first failure, group-settlement.h takes over. Any thread; groups that
 * share no device may run at the same time.
 */
#ifndef SERVICE_SNAPSHOT_GROUPS_H
#define SERVICE_SNAPSHOT_GROUPS_H

#include "service/group-request.h"
#include "store/groups.h"

struct service;
struct group_progress;

/*
 * Takes the snapshot. `progress` has its id and its deadline; NULL: a new id, no deadline. On
 * success `row` is the committed group. On failure `row` has what is known of the attempt,
 * including has_error_member and error_member; it is to be cleared as well. Codes: those of
 * group_begin and group_prepare, GroupExists, GroupNotFound (a rollback's), DeadlineExceeded,
 * StoreFailed, OutOfResources; NotReady: it is cut, and the daemon ends. After StoreFailed the
 * group may turn out to have been taken.
 */
int snapshot_groups_take(struct service *service, const struct snapshot_group_request *request,
                         struct group_progress *progress, struct group_row *row, struct err *err);

/* Makes every check of snapshot_groups_take() that comes before its first side effect, and has
 * none. On success `row` is the group as it would be, with an id that means nothing. On failure as
 * there. */
int snapshot_groups_plan(struct service *service, const struct snapshot_group_request *request,
                         struct group_row *row, struct err *err);

/* Records that the group, which has expired, will be aborted, so that its name is free while its
 * thread waits for storage. Any thread but that one. */
void snapshot_groups_abandon(struct service *service, struct group_progress *progress);

/* By id or name. GroupNotFound, StoreFailed. */
int snapshot_groups_get(struct service *service, const char *id_or_name, struct group_row *row,
                        struct err *err);

/* The same of a group that has frozen images. GroupNotFound (also: it was not taken), DeviceInUse
 * (it is under way), StoreFailed. `row` is to be cleared in every case. */
int snapshot_groups_get_committed(struct service *service, const char *id_or_name,
                                  struct group_row *row, struct err *err);

/* As store_group_list(). */
int snapshot_groups_list(struct service *service, const struct group_list_filter *filter,
                         uint64_t before, size_t limit, struct group_row **rows, size_t *count,
                         uint64_t *next, struct err *err);

#endif
