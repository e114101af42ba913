/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer to a request that made a row, built again from that row.
 */
#ifndef SERVICE_HTTP_REBUILD_H
#define SERVICE_HTTP_REBUILD_H

struct reply;
struct request;
struct service;

enum rebuilt {
    REBUILT_NOTHING, /* there is no such row any more */
    REBUILT_PENDING, /* a problem that may pass: the outcome is not known yet */
    REBUILT_ANSWER,
};

/* `request`: a repetition; `kind` and `id`: of the row, as in struct key_row. Unless
 * REBUILT_NOTHING the reply is complete. */
enum rebuilt rebuild_answer(struct service *service, const struct request *request,
                            const char *kind, const char *id, struct reply *reply);

#endif
