/* SPDX-License-Identifier: Apache-2.0
 *
 * Group snapshots as JSON. Called by snapshot-groups-http.c.
 */
#ifndef SERVICE_HTTP_GROUP_ENCODE_H
#define SERVICE_HTTP_GROUP_ENCODE_H

#include "service/http/reply.h"
#include "service/readiness.h"
#include "service/snapshot-groups.h"

#define GROUP_PATH_BYTES 64

/* Writes the path of the group itself to `path`, which is returned. */
const char *group_path(const struct group_row *row, char path[GROUP_PATH_BYTES]);

/* The problem of a failed attempt, and the member. Borrows the row's strings. */
void group_problem(const struct group_row *row, struct problem *problem);

/* What members wait for is as of now. `known`: of each member, from readiness_list(); NULL: asks
 * that. */
struct cJSON *group_encode(struct service *service, const struct group_row *row,
                           const enum member_readiness *known);

/* The group as it would be. What comes with the id, which the group does not have yet, is null. */
struct cJSON *plan_encode(const struct snapshot_group_request *wanted, const struct group_row *row);

#endif
