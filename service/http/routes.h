/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of routes. A handler has the name of its operation in api/openapi.yaml (operationId)
 * and lives in the file of its endpoint group, ENDPOINTS-http.c. Handlers run on any number of
 * threads at once, may block, and must leave a complete reply.
 */
#ifndef SERVICE_HTTP_ROUTES_H
#define SERVICE_HTTP_ROUTES_H

#include "service/http/decode.h"
#include "service/http/reply.h"
#include "service/http/request.h"

struct service;

/* The least that a caller must be allowed to do. */
enum route_scope {
    SCOPE_NONE, /* probes and the contract */
    SCOPE_READ,
    SCOPE_SNAPSHOT, /* takes group snapshots */
    SCOPE_ADMIN,    /* attaches and detaches devices */
};

enum route_flags {
    ROUTE_STORE =
        1, /* needs recovery done and a working store, else 503; one of SERVICE_CALLS_MAX */
    ROUTE_PAGE = 2, /* needs the memory for a page of a list */
};

struct route {
    const char *method;
    const char *path; /* {...} matches any one segment that is not empty */
    void (*handler)(struct service *, const struct request *, struct reply *);
    enum route_scope scope;
    unsigned flags;
    const char *const *parameters;   /* of the query; NULL: none */
    const struct decode_table *body; /* NULL: none */
};

/* The request's route; sets request->argument. NULL: NotFound, MethodNotAllowed, InvalidParameter.
 * HEAD is routed as GET. */
const struct route *routes_find(struct request *request, struct err *err);

/* Adds the header Allow: the methods of the request's path. */
void routes_allow(const struct request *request, struct reply *reply);

/* devices-http.c */
extern const struct decode_table device_create_body, device_delete_body;
void device_list(struct service *service, const struct request *request, struct reply *reply);
void device_create(struct service *service, const struct request *request, struct reply *reply);
void device_get(struct service *service, const struct request *request, struct reply *reply);
void device_delete(struct service *service, const struct request *request, struct reply *reply);

/* snapshot-groups-http.c */
extern const struct decode_table snapshot_group_create_body;
void snapshot_group_list(struct service *service, const struct request *request,
                         struct reply *reply);
void snapshot_group_create(struct service *service, const struct request *request,
                           struct reply *reply);
void snapshot_group_get(struct service *service, const struct request *request,
                        struct reply *reply);

/* health-http.c */
void livez_get(struct service *service, const struct request *request, struct reply *reply);
void readyz_get(struct service *service, const struct request *request, struct reply *reply);
void openapi_get(struct service *service, const struct request *request, struct reply *reply);

#endif
