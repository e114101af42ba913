/* SPDX-License-Identifier: Apache-2.0
 *
 * Once memory is decided (the group is pivoted, or its overlays are gone), the row has to follow; it
 * may lag, for a restart comes to the same result. row->state says where it is to get:
 *
 *   stored        row->state    changes
 *   preparing     ABORTING      preparing -> aborting
 *   preparing     ABORTED       preparing -> aborting -> aborted
 *   aborting      ABORTED       aborting -> aborted
 *   committing    COMMITTED     committing -> committed
 *   any other     any           none
 */
#ifndef SERVICE_GROUP_RECORD_H
#define SERVICE_GROUP_RECORD_H

#include "store/store.h"

struct service;

/* What waits in the queue if the row cannot be written. It is allocated before a group's point of no
 * return, for afterwards nothing may fail. NULL and *err (OutOfResources). */
struct group_record;
struct group_record *group_record_new(size_t member_count, struct err *err);
void group_record_free(struct group_record *record);

/* Brings what is stored from `state` to row->state. 0, or -1 and the store's error. */
int group_record_apply(struct service *service, enum group_state state, const struct group_row *row,
                       struct err *err);

/* Likewise, now or as soon as the store can be written; then *record becomes the queue's and is NULL. */
void group_record_write(struct service *service, struct group_record **record,
                        enum group_state state, const struct group_row *row);

#endif
