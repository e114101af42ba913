/* SPDX-License-Identifier: Apache-2.0
 *
 * Entity tags and the conditions of requests (RFC 9110, sections 8.8.3 and 13).
 *
 *   ETag: "VERSION-HASH"     VERSION  of the row (service/labels.h); absent where there is no row,
 *                                     as of a page of a list
 *                            HASH     of the body that a GET has, 16 hexadecimal digits
 *
 *   GET, HEAD   If-None-Match compares whole tags, weakly: 304. So a change that only memory knows,
 *               such as of the clients or of the space that a disk takes, is seen.
 *   changes     If-Match and If-None-Match compare VERSION alone: what a guest writes or who
 *               connects to it does not make an update fail. If-Match with a weak tag is false.
 *
 * A list that is malformed has the tags in front of the fault only. A problem has no tag, so "*"
 * matches what exists.
 */
#ifndef SERVICE_HTTP_CONDITION_H
#define SERVICE_HTTP_CONDITION_H

#include "service/http/reply.h"
#include "service/http/request.h"
#include "service/labels.h"

/* The condition of a change, which borrows the request; NULL: there is none. */
const struct condition *request_condition(const struct request *request,
                                          struct condition *condition);

/* Answers 200 with `json`, which is consumed, and the tag of the row that it shows. */
void reply_tagged(struct reply *reply, struct cJSON *json, const char *id, uint64_t revision);

/* Gives a reply of 201 the tag of the row that was made: that of its GET, whose body is `shown`.
 * Like reply_tag() it leaves a problem as it is. */
void reply_tag_row(struct reply *reply, const char *id, uint64_t revision, const char *shown);

/* Gives a reply of 200 the tag of what has no row. */
void reply_tag(struct reply *reply);

/* Replaces the reply of a GET or HEAD by 304 or 412, if the request's conditions demand it. */
void reply_condition(struct reply *reply, const struct request *request);

#endif
