/* SPDX-License-Identifier: Apache-2.0
 *
 * The bodies of POST /snapshot-groups and of a rollback as the request of snapshot-groups.h. Called
 * by snapshot-groups-http.c.
 */
#ifndef SERVICE_HTTP_GROUP_BODY_H
#define SERVICE_HTTP_GROUP_BODY_H

#include "service/http/request.h"
#include "service/snapshot-groups.h"
#include "store/devices.h"

struct problem;
struct service;

struct group_wanted {
    struct snapshot_group_request request; /* borrows the body, and the rest of this */
    uint64_t deadline_ms, settle_ms;
    char *labels, *selector;
    struct group_member *members;
    struct device_row *selected; /* the devices that the selector matches */
    size_t selected_count;
    struct group_row target;  /* of a rollback: the group to go back to, */
    struct group_base *bases; /* and its members' frozen images */
};
void group_wanted_clear(struct group_wanted *wanted);

/* Decodes the body, and resolves its selector. `wanted` is zeroed at first, and cleared in every
 * case. -1 and *problem: the codes of decode.h, EmptyGroup, StoreFailed, OutOfResources. */
int group_body_decode(struct service *service, const struct request *request,
                      struct group_wanted *wanted, struct problem *problem);

/* The same of a rollback to the group that the path names: its members are the rollback's. Codes
 * also: GroupNotFound, DeviceInUse (that group is under way). */
int rollback_body_decode(struct service *service, const struct request *request,
                         struct group_wanted *wanted, struct problem *problem);

#endif
