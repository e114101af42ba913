/* SPDX-License-Identifier: Apache-2.0
 *
 * The record of a group: changes of its row with their event, and the exports of its frozen
 * members. Called by what takes, finishes, settles and recovers groups. Any thread.
 */
#ifndef SERVICE_GROUP_RECORD_H
#define SERVICE_GROUP_RECORD_H

#include "block/block.h"
#include "service/events.h"
#include "store/groups.h"
#include "store/store.h"

struct service;

/* Makes one change of a group's row, with its event, in a transaction of its own. `kind`
 * EVENT_KIND_COUNT: no event. The errors of the query and of the store. */
int group_row_write(struct service *service,
                    int query(struct store_transaction *, const struct group_row *, struct err *),
                    const struct group_row *row, const struct origin *origin, enum event_kind kind,
                    struct err *err);

/* Whether the store would take the row, of a group that begins; it is rid of it again. As
 * store_group_insert(). */
int group_row_try_insert(struct service *service, struct group_row *row, struct err *err);

/* Records in `row` why it is aborted; `member` is SIZE_MAX if no member is to blame. */
void group_row_fail(struct group_row *row, const struct err *err, size_t member);

/* Offers a frozen member over NBD. Failures are logged. */
void group_offer_member(struct service *service, const struct group_row *row, size_t position);

#endif
