/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of every request:
 *
 *   step      does                                       a failure is
 *   head      receives the head (head.h)                 the last reply of the connection
 *   caller    checks the principal (auth.h)              the last reply of the connection
 *   route     finds the route, checks the query          the reply, once the body is received
 *   scope     checks the token, and whether the caller   the last reply of the connection; of a
 *             has the scope of the route                 known caller: the reply
 *   body      receives the body (body.h)                 the last reply of the connection
 *   decode    checks the types that the client takes     the reply
 *             and sends, decodes by route->body
 *   handler   counts the call, checks that the daemon    the reply
 *             is ready, answers a repeated key from
 *             the store (replay.h), runs the handler,
 *             applies a GET's conditions (condition.h)
 *   count     counts the reply, for /metrics
 *   log       logs a change: its caller and request id
 *   reply     sends the reply, with the request id; the
 *             socket of a stream goes to subscribers.h
 *
 * A failed head or body ends the connection, since it is unknown where the next request begins. An
 * unknown path does not, but its body must be received first.
 *
 * Who cannot be told which paths there are: without a valid token a call of an unknown one is
 * refused as that of a known one.
 *
 * One thread: the connection's.
 */
#include "service/http/pipeline.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "service/admission.h"
#include "service/context.h"
#include "service/http/accept.h"
#include "service/http/body.h"
#include "service/http/condition.h"
#include "service/http/connection.h"
#include "service/http/replay.h"
#include "service/http/routes.h"
#include "service/http/subscribers.h"
#include "service/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

/* The largest struct that a body is decoded into. */
#define FIELDS_BYTES 256

/* One request and its reply. Zeroed at first. */
struct exchange {
    struct http_connection *connection;
    struct service *service;
    struct request request;
    struct principal principal;            /* the connection's, with the token of the request */
    char target[256];                      /* for the log: as it was sent, cut short */
    char instance[REQUEST_INSTANCE_BYTES]; /* for problems */
    uint64_t start_us;
    const struct route *route; /* NULL: there is none; once `reply` has a status, it is final */
    struct http_body body;
    struct cJSON *json; /* the body's tree, which `fields` points into */
    alignas(max_align_t) char fields[FIELDS_BYTES];
    struct reply reply;
    struct memory_share reply_memory;
    struct subscriber *subscriber; /* of a stream */
};

static void exchange_clear(struct exchange *exchange)
{
    log_set_request(NULL);
    cJSON_Delete(exchange->json);
    http_body_clear(&exchange->body);
    reply_clear(&exchange->reply);
    memory_release(&exchange->reply_memory);
}

/* ---- steps: 0, or -1 with the problem in the reply ---- */

static int step_route(struct exchange *exchange)
{
    struct err err;
    exchange->route = routes_find(&exchange->request, &err);
    if (exchange->route)
        return 0;
    bool is_path = err.code == ErrMethodNotAllowed;
    bool is_options = is_path && strcmp(exchange->request.method, "OPTIONS") == 0;
    if (is_options)
        reply_nothing(&exchange->reply);
    else
        reply_error(&exchange->reply, &err);
    if (is_path)
        routes_allow(&exchange->request, &exchange->reply);
    if (is_options)
        routes_accept(&exchange->request, &exchange->reply);
    return -1;
}

/* Whether the client takes what the route replies with. */
static int accept_check(const struct request *request, const struct route *route, struct err *err)
{
    const char *type = route_reply_type(route);
    bool is_stream = (route->flags & ROUTE_EVENTS) && request_accepts(request, EVENT_STREAM_TYPE);
    if (is_stream || (route->flags & ROUTE_FILES) || request_accepts(request, type))
        return 0;
    return err_set(err, ErrNotAcceptable, 0,
                   "this call replies with %s, which the header Accept does not have", type);
}

/* Answers with the refusal of a caller; with 429 in its place once the peer has failed often. */
static void reply_refusal(struct exchange *exchange, enum scope needed, struct err *err)
{
    char who[PRINCIPAL_TEXT_BYTES], challenge[AUTH_CHALLENGE_BYTES];
    const struct principal *peer = &exchange->connection->principal;
    bool is_failure = err->code == ErrUnauthorized || err->code == ErrForbidden;
    struct throttle *failures = &exchange->connection->shared->failures;
    unsigned wait_s = is_failure ? throttle_fail(failures, peer, clock_monotonic_ms()) : 0;
    principal_format(peer, who);
    if (wait_s > 0)
        err_set(err, ErrRateLimited, 0, "%s failed too often to prove who it is; wait %u s", who,
                wait_s);
    else if (is_failure)
        log_warning("%s %s by %s is refused: %s", exchange->request.method, exchange->target, who,
                    err->message);
    reply_error(&exchange->reply, err);
    if (wait_s > 0)
        reply_header_add(&exchange->reply, "Retry-After", "%u", wait_s);
    if (err->code != ErrUnauthorized && err->code != ErrInsufficientScope)
        return;
    auth_challenge(exchange->request.head, err, needed, challenge);
    reply_header_add(&exchange->reply, "WWW-Authenticate", "%s", challenge);
}

/* Checks who calls, then what. -1: the connection must end. */
static int step_caller(struct exchange *exchange)
{
    struct err err;
    const struct http_head *head = exchange->request.head;
    struct principal *principal = &exchange->principal;
    snprintf(exchange->target, sizeof(exchange->target), "%s", exchange->request.uri);
    if (auth_check(principal, head, &err) != 0) {
        reply_refusal(exchange, SCOPE_NONE, &err);
        return -1;
    }
    step_route(exchange);
    enum scope needed = exchange->route ? exchange->route->scope : SCOPE_READ;
    if (auth_authorize(principal, exchange->service, head, needed, &err) == 0)
        return 0;
    reply_refusal(exchange, needed, &err);
    return err.code == ErrInsufficientScope ? 0 : -1;
}

/* Whether a body of `bytes` may come with the request. */
static int body_check(const struct request *request, const struct route *route, size_t bytes,
                      struct err *err)
{
    bool has_body = bytes > 0 || (route->body && route->body->is_required);
    if (has_body && !route->body)
        return err_set(err, ErrMalformedJSON, 0, "byte 0: this call takes no body");
    if (has_body && !request_has_type(request, route_body_type(route)))
        return err_set(err, ErrUnsupportedMediaType, 0,
                       "the body must be sent as 'Content-Type: %s', not encoded",
                       route_body_type(route));
    return 0;
}

static int step_decode(struct exchange *exchange)
{
    struct problem problem = {0};
    const struct http_body *body = &exchange->body;
    const struct decode_table *table = exchange->route->body;
    exchange->request.fields = exchange->fields;
    if (accept_check(&exchange->request, exchange->route, &problem.err) == 0 &&
        body_check(&exchange->request, exchange->route, body->length, &problem.err) == 0) {
        if (body->length == 0 && !(table && table->is_required))
            return 0;
        assert(table->bytes <= sizeof(exchange->fields));
        exchange->json = decode_body(body->text, body->length, &problem);
        if (exchange->json &&
            decode_object(exchange->json, "", table, exchange->fields, &problem) == 0)
            return 0;
    }
    reply_problem(&exchange->reply, &problem);
    if (problem.err.code == ErrUnsupportedMediaType)
        route_accept(exchange->route, &exchange->reply);
    return -1;
}

/* Claims the request's key. False: the reply is there. */
static bool exchange_claim(struct exchange *exchange, struct key_claim *claim)
{
    struct request *request = &exchange->request;
    replay_identify(request, exchange->body.text, exchange->body.length);
    return replay_begin(exchange->service, request, claim, &exchange->reply);
}

/* Runs the handler, if the daemon is in a state for that. */
static int step_handler(struct exchange *exchange)
{
    struct err err;
    struct service *service = exchange->service;
    unsigned flags = exchange->route->flags;
    CLEANUP_BY(service_call_end) struct service_call call = {0};
    CLEANUP_BY(memory_release) struct memory_share page = {.memory = &service->memory};
    if (((flags & ROUTE_STORE) && (service_call_begin(&call, service, &err) != 0 ||
                                   service_check_ready(service, &err) != 0)) ||
        ((flags & ROUTE_PAGE) && memory_take(&page, MEMORY_PAGE_BYTES, &err) != 0)) {
        reply_error(&exchange->reply, &err);
        return -1;
    }
    CLEANUP_BY(key_claim_end) struct key_claim claim = {0};
    if ((flags & ROUTE_IDEMPOTENT) && !exchange_claim(exchange, &claim))
        return 0;
    exchange->route->handler(service, &exchange->request, &exchange->reply);
    replay_end(&claim, &exchange->reply);
    assert(exchange->reply.status != 0);
    reply_condition(&exchange->reply, &exchange->request);
    return 0;
}

static void step_count(const struct exchange *exchange)
{
    const struct route *route = exchange->route;
    metrics_count_request(exchange->service->metrics,
                          route ? routes_position(route) : METRICS_OPERATIONS_MAX,
                          route ? route->operation : "none", exchange->reply.status);
}

/* Logs a call that may have changed something; of others, only for debugging. */
static void step_log(const struct exchange *exchange)
{
    char who[PRINCIPAL_TEXT_BYTES], status[16], duration_us[24];
    const struct request *request = &exchange->request;
    bool is_change = exchange->route && exchange->route->scope > SCOPE_READ;
    enum log_level level = is_change ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (!log_has_level(level))
        return;
    principal_format(request->principal, who);
    snprintf(status, sizeof(status), "%d", exchange->reply.status);
    snprintf(duration_us, sizeof(duration_us), "%" PRIu64,
             clock_monotonic_us() - exchange->start_us);
    const struct log_field fields[] = {
        {"method", request->method},  {"target", exchange->target},
        {"status", status},           {"caller", who},
        {"duration_us", duration_us},
    };
    log_event(level, fields, sizeof(fields) / sizeof(*fields),
              "%s %s: %s after %s us; by %s; request %s", request->method, exchange->target, status,
              duration_us, who, request->id);
}

static bool step_reply(struct exchange *exchange, bool is_last)
{
    reply_finish(&exchange->reply);
    if (!exchange->subscriber)
        return http_connection_reply(exchange->connection, &exchange->reply,
                                     is_last || exchange->reply.is_stream);
    http_connection_hand_over(exchange->connection, &exchange->reply, exchange->subscriber);
    return false;
}

/* ---- exchanges ---- */

/* Gives the request its id, which the log and every problem name. */
static void exchange_identify(struct exchange *exchange)
{
    request_identify(&exchange->request);
    log_set_request(exchange->request.id);
    request_instance(exchange->request.uri, exchange->instance);
    exchange->reply.request_id = exchange->request.id;
    exchange->reply.instance = exchange->instance;
}

/* Notes who causes what the request changes. */
static void exchange_originate(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    static_assert(sizeof(request->origin.actor) >= PRINCIPAL_TEXT_BYTES, "room for a caller");
    static_assert(sizeof(request->origin.request_id) >= sizeof(request->id), "room for an id");
    principal_format(request->principal, request->origin.actor);
    strcpy(request->origin.request_id, request->id);
}

/* Receives the request. 1; 0: the client has gone; -1: it cannot be served, and the connection must
 * end. */
static int exchange_receive(struct exchange *exchange, bool is_first)
{
    struct err err;
    struct http_connection *connection = exchange->connection;
    int ret = http_connection_receive_head(connection, is_first, &err);
    exchange->start_us = clock_monotonic_us();
    exchange->request = (struct request){.head = &connection->head,
                                         .principal = &exchange->principal,
                                         .method = connection->head.method,
                                         .uri = connection->head.target};
    if (ret != 0)
        exchange_identify(exchange);
    if (ret == 1)
        http_connection_judge(connection);
    exchange->principal = connection->principal;
    if (ret == 1 && step_caller(exchange) != 0)
        return -1;
    if (ret == 1) {
        exchange_originate(exchange);
        ret = http_enter(connection, HTTP_RECEIVING, HTTP_BODY_S)
                  ? http_body_receive(&exchange->body, &connection->head, &connection->stream, &err)
                  : 0;
    }
    if (ret == -1)
        reply_error(&exchange->reply, &err);
    return ret;
}

/* Takes a place for the stream that the reply announces, or replies that there is none. */
static void exchange_subscribe(struct exchange *exchange)
{
    struct err err;
    const struct http_connection *connection = exchange->connection;
    struct reply *reply = &exchange->reply;
    if (strcmp(exchange->request.method, "HEAD") == 0)
        return;
    if (connection->is_reserve)
        err_set(&err, ErrOutOfResources, 0, "there are no descriptors for a stream; try again");
    else
        exchange->subscriber = subscriber_new(connection->shared->subscribers, &reply->subscription,
                                              &exchange->principal, &err);
    if (!exchange->subscriber)
        reply_error(reply, &err);
}

/* Leaves a reply that fits into the memory for replies. */
static void exchange_run(struct exchange *exchange)
{
    struct err err;
    if (exchange->reply.status == 0 && step_decode(exchange) == 0)
        step_handler(exchange);
    http_body_clear(&exchange->body);
    if (exchange->reply.body &&
        memory_take(&exchange->reply_memory, exchange->reply.body_bytes, &err) != 0)
        reply_error(&exchange->reply, &err);
    if (exchange->reply.is_stream)
        exchange_subscribe(exchange);
    step_count(exchange);
    step_log(exchange);
}

/* Serves one request. False: it was the last one. */
static bool exchange_serve(struct http_connection *connection, bool is_first)
{
    struct service *service = connection->shared->service;
    CLEANUP_BY(exchange_clear)
    struct exchange exchange = {
        .connection = connection,
        .service = service,
        .body.memory.memory = &service->memory,
        .reply_memory.memory = &service->memory,
    };
    int received = exchange_receive(&exchange, is_first);
    if (received == -1) {
        step_count(&exchange);
        return step_reply(&exchange, true);
    }
    if (received == 0 || !http_enter(connection, HTTP_RUNNING, 0))
        return false;
    exchange_run(&exchange);
    bool is_last = connection->head.is_last || connection->is_reserve ||
                   atomic_load(&connection->shared->is_stopping);
    return step_reply(&exchange, is_last);
}

void http_pipeline_serve(struct http_connection *connection)
{
    for (bool is_first = true; exchange_serve(connection, is_first);)
        is_first = false;
}
