/* SPDX-License-Identifier: Apache-2.0
 *
 * See routes.h.
 */
#include "service/http/routes.h"

#include "service/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const list_parameters[] = {"limit", "cursor", NULL};
static const char *const event_parameters[] = {"limit", "after", "kind", "device", "group", NULL};
static const char *const extent_parameters[] = {"since", "limit", "cursor", NULL};
static const char *const group_create_parameters[] = {"dry_run", NULL};
static const char *const device_delete_parameters[] = {"files", NULL};
static const char *const job_parameters[] = {"limit", "cursor", "state", NULL};
static const char *const device_parameters[] = {"limit", "cursor", "state", "name", "label", NULL};
static const char *const group_parameters[] = {"limit",          "cursor", "state", "kind",
                                               "name",           "device", "label", "created_after",
                                               "created_before", NULL};

#define ROUTE_ROW(method, path, handler, scope, flags, parameters, body)                           \
    {#handler, method, path, handler, scope, flags, parameters, body},
static const struct route routes[] = {ROUTES(ROUTE_ROW)};

#define ROUTES_COUNT (sizeof(routes) / sizeof(routes[0]))
static_assert(ROUTES_COUNT <= METRICS_OPERATIONS_MAX, "a counter for each route");

size_t routes_position(const struct route *route)
{
    return (size_t)(route - routes);
}

enum { ARGUMENTS_MAX = 2 };

/* Compares the request's segments with the route's; `arguments` get those that a {...} matches. */
static bool route_matches(const struct route *route, const struct request *request,
                          const char *arguments[ARGUMENTS_MAX])
{
    const char *path = route->path;
    size_t argument_count = 0;
    arguments[0] = arguments[1] = NULL;
    for (size_t i = 0; i < request->segment_count; i++) {
        if (*path++ != '/')
            return false;
        size_t length = strcspn(path, "/");
        if (*path == '{' && *request->segments[i])
            arguments[argument_count++] = request->segments[i];
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

void routes_allow(const struct request *request, struct reply *reply)
{
    char text[64] = "";
    const char *arguments[ARGUMENTS_MAX];
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        if (!route_matches(&routes[i], request, arguments))
            continue;
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, "%s%s, ", routes[i].method,
                 route_takes(&routes[i], "HEAD") ? ", HEAD" : "");
    }
    reply_header_add(reply, "Allow", "%sOPTIONS", text);
}

void route_accept(const struct route *route, struct reply *reply)
{
    if (route_takes(route, "POST"))
        reply_header_add(reply, "Accept-Post", "%s", route_body_type(route));
    if (route_takes(route, "PATCH"))
        reply_header_add(reply, "Accept-Patch", "%s", route_body_type(route));
}

void routes_accept(const struct request *request, struct reply *reply)
{
    const char *arguments[ARGUMENTS_MAX];
    for (size_t i = 0; i < ROUTES_COUNT; i++)
        if (route_matches(&routes[i], request, arguments))
            route_accept(&routes[i], reply);
}

const char *route_body_type(const struct route *route)
{
    return route_takes(route, "PATCH") ? "application/merge-patch+json" : "application/json";
}

const char *route_reply_type(const struct route *route)
{
    return route->flags & ROUTE_TEXT   ? "text/plain"
           : route->flags & ROUTE_YAML ? "application/yaml"
                                       : "application/json";
}

const struct route *routes_find(struct request *request, struct err *err)
{
    bool is_path = false;
    if (request_parse_uri(request, err) != 0)
        return NULL;
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        const char *arguments[ARGUMENTS_MAX];
        if (!route_matches(&routes[i], request, arguments))
            continue;
        is_path = true;
        request->argument = arguments[0];
        request->second_argument = arguments[1];
        if (route_takes(&routes[i], request->method))
            return request_check_parameters(request, routes[i].parameters, err) == 0 ? &routes[i]
                                                                                     : NULL;
    }
    if (is_path)
        err_set(err, ErrMethodNotAllowed, 0, "this path does not take %.32s", request->method);
    else
        err_set(err, ErrNotFound, 0, "there is nothing at this path; see /openapi.yaml");
    return NULL;
}
