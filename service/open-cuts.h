/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts that are made and whose members are not all frozen yet. Each member is settled by itself: as
 * soon as it is frozen it is recorded, exported, and its device released; one whose storage hangs
 * keeps its own device only.
 *
 *     group_cut --> open_cut_follow: group_finish_begin
 *                     all members are frozen within OPEN_CUT_MS --> nothing is recorded here
 *                     else: row `committing` with its cut;
 *                           members as they are frozen: recorded, offered, released
 *                     OPEN_CUT_EVENT_MS, or the settle time if that is less, have passed: event
 *                     group.cut
 *                     all are frozen --> the caller records `committed`
 */
#ifndef SERVICE_OPEN_CUTS_H
#define SERVICE_OPEN_CUTS_H

#include "block/group.h"
#include "store/group-row.h"

struct group_progress;
struct origin;
struct service;

/* A group whose members are frozen sooner is never shown as `cut`, and costs no commit more; or has
 * no event group.cut. */
#define OPEN_CUT_MS       100
#define OPEN_CUT_EVENT_MS 500

struct open_cut {
    struct open_cut *next; /* cuts_lock */
    struct group *group;   /* cut; these three are borrowed */
    struct group_row *row; /* has all of its members and the cut */
    const struct origin *origin;
    size_t settled;       /* members of the row that are */
    uint64_t event_at_us; /* monotonic */
    bool has_event;
    bool has_failed; /* the last attempt to record; it was logged */
};

/* Follows the cut until all members are frozen: then the row has what is known of them, and some
 * may be released. False: the block layer stops, and members are left to the next start. `progress`
 * (or NULL) learns of the cut with the event, at the end of its settle time at the latest. On
 * the thread that runs the group, no lock held. */
bool open_cut_follow(struct service *service, struct open_cut *cut,
                     struct group_progress *progress);

/* Fills waits[] with what each of the group's members waits for; zeros if it is none of these. */
void open_cuts_wait(struct service *service, const char *id, struct group_member_wait *waits,
                    size_t count);

#endif
