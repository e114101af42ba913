/* SPDX-License-Identifier: Apache-2.0
 *
 * Settlement: a group's row and memory are brought to agree on one outcome, committed or aborted.
 * Used by a running call when its steps are over, by the queue when the store opens again
 * (unsettled.h), and by a restart; all three look the action up in the one table of
 * group-settlement.c.
 *
 *             group_begin          point of no return            group_abort, group_free
 *   NOTHING ---------------> HELD --------------------> CUT
 *      |                      +-----------------------------------------> REMOVED
 *      |                      +--(an overlay could not be removed)------> LEFT --(retry)--> REMOVED
 *      +--(restart: overlays are removed by name)--------------------------^
 */
#ifndef SERVICE_GROUP_SETTLEMENT_H
#define SERVICE_GROUP_SETTLEMENT_H

#include "block/block.h"
#include "block/group.h"
#include "service/events.h"
#include "service/unsettled.h"
#include "store/groups.h"
#include "store/store.h"

struct service;

enum group_memory_state {
    GROUP_MEMORY_NOTHING, /* before group_begin, or after a restart */
    GROUP_MEMORY_HELD,    /* devices are held; overlays may exist; no top has moved */
    GROUP_MEMORY_CUT,
    GROUP_MEMORY_REMOVED, /* the overlays are gone */
    GROUP_MEMORY_LEFT,    /* an overlay may still exist */
    GROUP_MEMORY_STATES,
};

/* Of a row as far as it is known: an enum group_state, or one of these. */
enum {
    GROUP_STORED_NOTHING = GROUP_DELETED + 1, /* there is no row */
    GROUP_STORED_UNKNOWN,                     /* the store failed while it changed the row */
    GROUP_STORED_STATES = GROUP_STORED_UNKNOWN,
};

/* One thread at a time: the call that made it, then the queue's under settle_lock. */
struct settlement {
    struct unsettled unsettled; /* first: the queue hands it back */
    enum group_memory_state memory;
    unsigned stored;
    struct group *group; /* while memory is HELD, and until its members are offered */
    struct group_row row;
    struct origin origin; /* of the call that made it */
    uint64_t started_us;  /* monotonic */
    /* For the copy of the row that the queue keeps: after the cut nothing is allocated. */
    struct member_row *waits;
    char error_message[ERR_MESSAGE_BYTES];
};

/* For a group of so many members. NULL and *err (OutOfResources). */
struct settlement *settlement_new(size_t member_count, struct err *err);

/*
 * Ends a call: decides the group's outcome and moves the row into `row`. Consumes the settlement. A
 * row that cannot be written now is written later by the queue. If even the outcome depends on the
 * store, and that stays closed, `row` is left as it is and the devices stay held. True: committed.
 */
bool settlement_end(struct service *service, struct settlement *settlement, struct group_row *row);

/* Settles the group of a row after a restart. StoreFailed. */
int settlement_recover(struct service *service, struct group_row *row, struct err *err);

/* Makes one change of a group's row, with its event, in a transaction of its own. `kind`
 * EVENT_KIND_COUNT: no event. The errors of the query and of the store. */
int group_row_write(struct service *service,
                    int query(struct store_transaction *, const struct group_row *, struct err *),
                    const struct group_row *row, const struct origin *origin, enum event_kind kind,
                    struct err *err);

/* Records in `row` why it is aborted; `member` is SIZE_MAX if no member is to blame. */
void group_row_fail(struct group_row *row, const struct err *err, size_t member);

/* Offers the frozen members of a committed group over NBD. Failures are logged. */
void group_offer_members(struct service *service, const struct group_row *row);

#endif
