/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks of POST /snapshot-groups, or of a rollback: the members with their defaults,
 * what is checked before they are held, and the row that follows. Called by snapshot-groups.c.
 */
#ifndef SERVICE_GROUP_REQUEST_H
#define SERVICE_GROUP_REQUEST_H

#include "block/block.h"
#include "block/group.h"
#include "store/group-row.h"

struct origin;
struct service;

/* What a client asks for; strings are borrowed. A member's snapshot_file and format may be NULL:
 * then they are a default file (default-files.h), and "qcow2". */
struct snapshot_group_request {
    const char *name;           /* or NULL: the id */
    const char *labels;         /* JSON text */
    bool is_dry_run;            /* for group-runs.h: only a plan is wanted */
    const char *selector;       /* the labels that chose the members, JSON text; NULL: none */
    const char *rolled_back_to; /* of a rollback: the id of the group to go back to; each member has
                                 * a base. NULL: a snapshot */
    bool is_cut;                /* for a job or a resize: nobody sees it by its name */
    uint64_t revision;          /* that the row of the one device has once it is held; 0: any */
    const struct origin *origin;
    size_t count;
    const struct group_member *members;
};

/* The request's members, with defaults in place of what they lack. */
struct group_members {
    const struct snapshot_group_request *request;
    const char *id; /* of the group; borrowed */
    struct group_member *list;
};

/* Fills the list, of the group with that id. Cleared in every case. OutOfResources. */
int group_members_fill(struct service *service, struct group_members *members, const char *id,
                       struct err *err);

/* Begins the group; a default file that has come since the list was filled is replaced by another
 * one. *failed_member and codes: as of group_begin(). */
struct group *group_members_begin(struct service *service, const struct group_members *members,
                                  size_t *failed_member, struct err *err);
void group_members_clear(struct group_members *members);

/* So that a call sent twice is refused for its name, not for its files, which exist too. The insert
 * decides. GroupExists. */
int group_name_check(struct service *service, const char *name, struct err *err);

/* Whether the images that a rollback goes back to are still those of its target. DeviceInUse: they
 * were merged. */
int group_bases_check(const struct snapshot_group_request *request, const struct group_row *target,
                      struct err *err);

/* Fills all of the row but the members. OutOfResources. */
int group_row_begin(struct group_row *row, const struct snapshot_group_request *request,
                    struct err *err);

/* Fills the member of that position, after the one before it. `info` is NULL if the group could not
 * be begun: then paths are recorded as far as they can be resolved. */
int group_row_fill_member(struct service *service, struct group_row *row,
                          const struct group_members *members, size_t position,
                          const struct group_member_info *info, struct err *err);

/* Fills the row, once, after group_begin() (NULL: it failed). PreconditionFailed: `revision`. */
int group_row_fill(struct service *service, struct group_row *row,
                   const struct group_members *members, struct group *group, struct err *err);

#endif
