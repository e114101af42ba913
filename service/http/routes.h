/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of routes: start reading here. A request goes from pipeline.c, which looks its route
 * up, to the handler in *-http.c, which calls the use case in the file without "-http" and replies.
 * A handler has the name of its operation in api/openapi.yaml (operationId). Handlers run on any
 * number of threads at once, may block, and must leave a complete reply.
 */
#ifndef SERVICE_HTTP_ROUTES_H
#define SERVICE_HTTP_ROUTES_H

#include "service/http/decode.h"
#include "service/http/reply.h"
#include "service/http/request.h"
#include "store/row.h"

struct service;

enum route_flags {
    ROUTE_STORE = 1, /* needs recovery done and a working store; one of SERVICE_CALLS_MAX */
    ROUTE_PAGE = 2,  /* needs the memory for a page of a list */
    ROUTE_TEXT = 4,  /* replies with text/plain; else, unless ROUTE_YAML, with application/json */
    ROUTE_YAML = 8,  /* replies with application/yaml */
    ROUTE_IDEMPOTENT = 16, /* takes an Idempotency-Key; with ROUTE_STORE */
    ROUTE_EVENTS = 32,     /* replies with text/event-stream where that is asked for */
    ROUTE_FILES = 64,      /* replies with a file; the handler checks the header Accept */
};

/* Method, path ({...} matches any one segment that is not empty), handler, scope, flags, parameters
 * of the query (NULL: none), table of the body (NULL: none). HEAD is routed as GET. */
#define ROUTES(X)                                                                                  \
    X("GET", "/devices", device_list, SCOPE_READ, ROUTE_STORE | ROUTE_PAGE, device_parameters,     \
      NULL)                                                                                        \
    X("POST", "/devices", device_create, SCOPE_ADMIN, ROUTE_STORE | ROUTE_IDEMPOTENT, NULL,        \
      &device_create_body)                                                                         \
    X("GET", "/devices/{name}", device_get, SCOPE_READ, ROUTE_STORE, NULL, NULL)                   \
    X("PATCH", "/devices/{name}", device_update, SCOPE_ADMIN, ROUTE_STORE, NULL,                   \
      &device_patch_body)                                                                          \
    X("DELETE", "/devices/{name}", device_delete, SCOPE_ADMIN, ROUTE_STORE,                        \
      device_delete_parameters, &device_delete_body)                                               \
    X("GET", "/snapshot-groups", snapshot_group_list, SCOPE_READ, ROUTE_STORE | ROUTE_PAGE,        \
      group_parameters, NULL)                                                                      \
    X("POST", "/snapshot-groups", snapshot_group_create, SCOPE_SNAPSHOT,                           \
      ROUTE_STORE | ROUTE_IDEMPOTENT, group_create_parameters, &snapshot_group_create_body)        \
    X("GET", "/snapshot-groups/{id}", snapshot_group_get, SCOPE_READ, ROUTE_STORE, NULL, NULL)     \
    X("PATCH", "/snapshot-groups/{id}", snapshot_group_update, SCOPE_SNAPSHOT, ROUTE_STORE, NULL,  \
      &labels_patch_body)                                                                          \
    X("POST", "/snapshot-groups/{id}/rollbacks", rollback_create, SCOPE_ADMIN,                     \
      ROUTE_STORE | ROUTE_IDEMPOTENT, group_create_parameters, &rollback_create_body)              \
    X("POST", "/snapshot-groups/{id}/copies", copy_create, SCOPE_ADMIN,                            \
      ROUTE_STORE | ROUTE_IDEMPOTENT, group_create_parameters, &copy_create_body)                  \
    X("DELETE", "/snapshot-groups/{id}", snapshot_group_delete, SCOPE_ADMIN, ROUTE_STORE,          \
      group_create_parameters, NULL)                                                               \
    X("GET", "/jobs", job_list, SCOPE_READ, ROUTE_STORE | ROUTE_PAGE, job_parameters, NULL)        \
    X("GET", "/jobs/{id}", job_get, SCOPE_READ, ROUTE_STORE, NULL, NULL)                           \
    X("PATCH", "/jobs/{id}", job_update, SCOPE_ADMIN, ROUTE_STORE, NULL, &job_patch_body)          \
    X("PUT", "/snapshot-groups/{id}/holds/{name}", snapshot_group_hold, SCOPE_SNAPSHOT,            \
      ROUTE_STORE, NULL, NULL)                                                                     \
    X("DELETE", "/snapshot-groups/{id}/holds/{name}", snapshot_group_release, SCOPE_SNAPSHOT,      \
      ROUTE_STORE, NULL, NULL)                                                                     \
    X("GET", "/snapshot-groups/{id}/members/{device}/extents", extent_list, SCOPE_READ,            \
      ROUTE_STORE | ROUTE_PAGE, extent_parameters, NULL)                                           \
    X("GET", "/events", event_list, SCOPE_READ, ROUTE_STORE | ROUTE_PAGE | ROUTE_EVENTS,           \
      event_parameters, NULL)                                                                      \
    X("GET", "/tokens", token_list, SCOPE_ADMIN, ROUTE_STORE | ROUTE_PAGE, list_parameters, NULL)  \
    X("POST", "/tokens", token_create, SCOPE_ADMIN, ROUTE_STORE | ROUTE_IDEMPOTENT, NULL,          \
      &token_create_body)                                                                          \
    X("GET", "/tokens/{id}", token_get, SCOPE_ADMIN, ROUTE_STORE, NULL, NULL)                      \
    X("DELETE", "/tokens/{id}", token_delete, SCOPE_ADMIN, ROUTE_STORE, NULL, NULL)                \
    X("GET", "/metrics", metrics_get, SCOPE_READ, ROUTE_STORE | ROUTE_PAGE | ROUTE_TEXT, NULL,     \
      NULL)                                                                                        \
    X("GET", "/version", version_get, SCOPE_READ, 0, NULL, NULL)                                   \
    X("GET", "/limits", limits_get, SCOPE_READ, 0, NULL, NULL)                                     \
    X("GET", "/livez", livez_get, SCOPE_NONE, 0, NULL, NULL)                                       \
    X("GET", "/readyz", readyz_get, SCOPE_NONE, 0, NULL, NULL)                                     \
    X("GET", "/openapi.yaml", openapi_get, SCOPE_NONE, ROUTE_YAML, NULL, NULL)                     \
    X("GET", "/ui/", ui_get, SCOPE_NONE, ROUTE_FILES, NULL, NULL)                                  \
    X("GET", "/ui/{file}", ui_file_get, SCOPE_NONE, ROUTE_FILES, NULL, NULL)                       \
    X("GET", "/ui/{folder}/{file}", ui_folder_file_get, SCOPE_NONE, ROUTE_FILES, NULL, NULL)

/* Bodies: in the file of the handler, or group-body.c. */
extern const struct decode_table device_create_body, device_patch_body, device_delete_body,
    snapshot_group_create_body, rollback_create_body, token_create_body, labels_patch_body,
    job_patch_body, copy_create_body;

#define ROUTE_HANDLER(method, path, handler, ...)                                                  \
    void handler(struct service *service, const struct request *request, struct reply *reply);
ROUTES(ROUTE_HANDLER)
#undef ROUTE_HANDLER

struct route {
    const char *operation; /* the handler's name */
    const char *method;
    const char *path;
    void (*handler)(struct service *, const struct request *, struct reply *);
    enum scope scope; /* the least that a caller needs */
    unsigned flags;
    const char *const *parameters; /* ended by NULL */
    const struct decode_table *body;
};

/* The position of a route in the table. */
size_t routes_position(const struct route *route);

/* The request's route; sets request->argument. NotFound, MethodNotAllowed, InvalidParameter. */
const struct route *routes_find(struct request *request, struct err *err);

/* Adds the header Allow: the methods of the request's path. */
void routes_allow(const struct request *request, struct reply *reply);

/* Adds Accept-Post or Accept-Patch, if the route has that method; of all routes of the path. */
void route_accept(const struct route *route, struct reply *reply);
void routes_accept(const struct request *request, struct reply *reply);

/* The media type of the route's body and, if it succeeds, of its reply. */
const char *route_body_type(const struct route *route);
const char *route_reply_type(const struct route *route);

#endif
