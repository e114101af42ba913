/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of routes: start reading here. A request goes from http/server.c through routes_dispatch() to
 * the handler in *-http.c, which decodes it, calls the use case in the file without "-http" and
 * replies.
 *
 * HEAD is answered as GET (http/connection.c leaves the body out).
 */
#include "service/http/routes.h"

#include "service/service.h"
#include "service/unsettled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum route_needs {
    NEEDS_NOTHING, /* answers whatever state the daemon is in, and at once */
    NEEDS_STORE,   /* recovery is done and the store works, or 503; one of SERVICE_CALLS_MAX */
    NEEDS_PAGE,    /* that, and the memory for a page of a list */
};

static const char *const device_parameters[] = {"limit", "cursor", NULL};
static const char *const group_parameters[] = {"limit", "cursor", "state", NULL};

static const struct route {
    const char *method;
    const char *path; /* {...} stands for any one segment that is not empty */
    void (*handler)(struct service *, const struct request *, struct reply *);
    enum route_needs needs;
    const char *const *parameters; /* of the query; NULL: none */
} routes[] = {
    {"GET", "/devices", device_list, NEEDS_PAGE, device_parameters},
    {"POST", "/devices", device_create, NEEDS_STORE, NULL},
    {"GET", "/devices/{name}", device_get, NEEDS_STORE, NULL},
    {"DELETE", "/devices/{name}", device_delete, NEEDS_STORE, NULL},
    {"GET", "/snapshot-groups", snapshot_group_list, NEEDS_PAGE, group_parameters},
    {"POST", "/snapshot-groups", snapshot_group_create, NEEDS_STORE, NULL},
    {"GET", "/snapshot-groups/{id}", snapshot_group_get, NEEDS_STORE, NULL},
    {"GET", "/livez", livez_get, NEEDS_NOTHING, NULL},
    {"GET", "/readyz", readyz_get, NEEDS_NOTHING, NULL},
    {"GET", "/openapi.yaml", openapi_get, NEEDS_NOTHING, NULL},
};

#define ROUTES_COUNT (sizeof(routes) / sizeof(routes[0]))

/* Compares the request's segments with the route's; *argument gets what {...} stands for. */
static bool route_matches(const struct route *route, const struct request *request,
                          const char **argument)
{
    const char *path = route->path;
    for (size_t i = 0; i < request->segment_count; i++) {
        if (*path++ != '/')
            return false;
        size_t length = strcspn(path, "/");
        if (*path == '{' && *request->segments[i])
            *argument = request->segments[i];
        else if (strlen(request->segments[i]) != length ||
                 memcmp(path, request->segments[i], length) != 0)
            return false;
        path += length;
    }
    return *path == '\0';
}

static bool route_takes(const struct route *route, const char *method)
{
    return strcmp(route->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

/* The header Allow: "GET, HEAD, POST". Heap. */
static char *routes_allowed(const struct request *request)
{
    char text[64] = "";
    const char *argument;
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        if (!route_matches(&routes[i], request, &argument))
            continue;
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, "%s%s%s", length ? ", " : "",
                 routes[i].method, route_takes(&routes[i], "HEAD") ? ", HEAD" : "");
    }
    return strdup(text);
}

/* The route of the request, or NULL with *err: NotFound, MethodNotAllowed. */
static const struct route *routes_find(struct request *request, struct err *err)
{
    bool known = false;
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        const char *argument = NULL;
        if (!route_matches(&routes[i], request, &argument))
            continue;
        known = true;
        request->argument = argument;
        if (route_takes(&routes[i], request->method))
            return &routes[i];
    }
    if (known)
        err_set(err, ErrMethodNotAllowed, 0, "this path does not take %.32s", request->method);
    else
        err_set(err, ErrNotFound, 0, "there is nothing at this path; see /openapi.yaml");
    return NULL;
}

/* What holds for the bodies of all calls: that of POST is required, that of DELETE is not. */
static int request_check_body(const struct request *request, struct err *err)
{
    bool is_post = strcmp(request->method, "POST") == 0;
    bool has_body = is_post || request->body_bytes > 0;
    if (has_body && !is_post && strcmp(request->method, "DELETE") != 0)
        return err_set(err, ErrMalformedJSON, 0, "byte 0: this call takes no body");
    if (has_body && !request_is_json(request))
        return err_set(err, ErrUnsupportedMediaType, 0,
                       "the body must be sent as 'Content-Type: application/json', not encoded");
    return 0;
}

static int route_check(const struct route *route, const struct request *request, struct err *err)
{
    if (request_check_parameters(request, route->parameters, err) != 0 ||
        request_check_body(request, err) != 0)
        return -1;
    return 0;
}

/* Runs the handler, if the daemon is in a state for that. */
static int route_run(struct service *service, const struct route *route,
                     const struct request *request, struct reply *reply, struct err *err)
{
    CLEANUP_BY(service_call_end) struct service_call call = {0};
    CLEANUP_BY(memory_release) struct memory_share page = {.memory = &service->memory};
    if (route->needs != NEEDS_NOTHING &&
        (service_call_begin(&call, service, err) != 0 || service_check_ready(service, err) != 0))
        return -1;
    if (route->needs == NEEDS_PAGE && memory_take(&page, MEMORY_PAGE_BYTES, err) != 0)
        return -1;
    route->handler(service, request, reply);
    return 0;
}

void routes_dispatch(struct service *service, struct request *request, struct reply *reply)
{
    struct err err;
    const struct route *route =
        request_parse_uri(request, &err) == 0 ? routes_find(request, &err) : NULL;
    if (route && route_check(route, request, &err) == 0 &&
        route_run(service, route, request, reply, &err) == 0)
        return;
    reply_error(reply, &err);
    if (err.code == ErrMethodNotAllowed)
        reply->allow = routes_allowed(request);
}
