/* SPDX-License-Identifier: Apache-2.0
 *
 * Settlement: a group's row and memory are brought to agree on one outcome, committed or aborted.
 * Used by a running call when its steps are over, by the queue when the store opens again
 * (unsettled.h), and by a restart; all three look the action up in the one table of
 * group-settlement.c.
 *
 *             group_begin          point of no return     all members frozen
 *   NOTHING ---------------> HELD --------------------> CUT -----------------> FROZEN
 *      |                      |                                                ^
 *      +--(restart: the images are synced)-------------------------------------+
 *      |                      +--group_abort, group_free----------------> REMOVED
 *      |                      +--(an overlay could not be removed)------> LEFT --(retry)--> REMOVED
 *      +--(restart: overlays are removed by name)--------------------------^
 *
 * From HELD to CUT only memory is touched, so the queue does that too. From CUT to FROZEN storage
 * may take for ever (open-cuts.h): that is left to a thread that holds no lock, the group's own or,
 * if its call is over, a new one.
 */
#ifndef SERVICE_GROUP_SETTLEMENT_H
#define SERVICE_GROUP_SETTLEMENT_H

#include "block/block.h"
#include "block/group.h"
#include "service/events.h"
#include "service/unsettled.h"
#include "store/groups.h"
#include "store/store.h"

struct group_progress;
struct late_cut;
struct service;

enum group_memory_state {
    GROUP_MEMORY_NOTHING, /* before group_begin, or after a restart */
    GROUP_MEMORY_HELD,    /* devices are held; overlays may exist; no top has moved */
    GROUP_MEMORY_CUT,     /* members are being frozen, each by itself */
    GROUP_MEMORY_FROZEN,  /* all are */
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
    struct service *service;
    enum group_memory_state memory;
    unsigned stored;
    struct group *group; /* while memory is HELD or CUT, and until its members are offered */
    struct group_row row;
    struct origin origin; /* of the call that made it */
    uint64_t started_us;  /* monotonic */
    /* For the copy of the row that the queue keeps, and for a thread that follows a cut of the
     * queue: after the cut nothing is allocated. */
    struct member_row *waits;
    struct late_cut *late;
    char error_message[ERR_MESSAGE_BYTES];
};

/* For a group of so many members. NULL and *err (OutOfResources). */
struct settlement *settlement_new(struct service *service, size_t member_count, struct err *err);

/*
 * Ends a call: decides the group's outcome and moves the row into `row`. Consumes the settlement. A
 * row that cannot be written now is written later by the queue. If even the outcome depends on the
 * store, and that stays closed, `row` is left as it is and the devices stay held. True: committed.
 * False, and *err is changed only if that is NotReady: the daemon ends before all is frozen, and
 * the next start commits the group. `progress`: or NULL.
 */
bool settlement_end(struct settlement *settlement, struct group_progress *progress,
                    struct group_row *row, struct err *err);

/* Waits for the groups that threads of their own finish. After the last call. */
void settlements_close(struct service *service);

/* Settles the group of a row after a restart. StoreFailed. */
int settlement_recover(struct service *service, struct group_row *row, struct err *err);

#endif
