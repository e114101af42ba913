/* SPDX-License-Identifier: Apache-2.0
 *
 * See reply.h.
 */
#include "service/http/reply.h"

#include "service/http/advice.h"
#include "service/http/encode.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_AFTER_S 1

void reply_clear(struct reply *reply)
{
    free(reply->body);
    free(reply->kept_body);
    *reply = (struct reply){.request_id = reply->request_id, .instance = reply->instance};
}

/* ---- heads ---- */

/* Appends to `text`, which has room for it; returns the new length. */
static size_t text_add(char *text, size_t length, size_t room, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static size_t text_add(char *text, size_t length, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int added = vsnprintf(text + length, room - length, format, args);
    va_end(args);
    assert(added >= 0 && (size_t)added < room - length);
    return length + (size_t)added;
}

void reply_header_add(struct reply *reply, const char *name, const char *format, ...)
{
    char value[REPLY_HEADER_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    (void)length;
    assert(length >= 0 && (size_t)length < sizeof(value) && !strpbrk(value, "\r\n"));
    reply->header_bytes = text_add(reply->header, reply->header_bytes, sizeof(reply->header),
                                   "%s: %s\r\n", name, value);
}

void reply_finish(struct reply *reply)
{
    reply_header_add(reply, "X-Request-Id", "%s", reply->request_id);
    reply_header_add(reply, "Cache-Control", "%s", reply->is_kept ? "no-cache" : "no-store");
    if (reply->varies_by_coding)
        reply_header_add(reply, "Vary", "Accept-Encoding");
}

/* RFC 9110, section 15, RFC 6585 (431) and RFC 4918 (507). */
static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

static const char *reply_phrase(int status)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    assert(!"every status of a reply has a phrase");
    return "Error";
}

size_t reply_head_format(const struct reply *reply, bool is_last, char *text, size_t room)
{
    char date[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    size_t length = text_add(text, 0, room, "HTTP/1.1 %d %s\r\nDate: %s\r\n%s", reply->status,
                             reply_phrase(reply->status), date, reply->header);
    if (!reply->is_stream && reply->status != 204 && reply->status != 304)
        length = text_add(text, length, room, "Content-Length: %zu\r\n", reply->body_bytes);
    return text_add(text, length, room, "%s\r\n", is_last ? "Connection: close\r\n" : "");
}

/* ---- problems ---- */

int problem_point(struct problem *problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(problem->pointer, sizeof(problem->pointer), format, args);
    va_end(args);
    /* A truncated pointer would name another place. */
    problem->has_pointer = length >= 0 && (size_t)length < sizeof(problem->pointer);
    return -1;
}

void problem_compare(struct problem *problem, const char *id, const char *made_by,
                     const char *request_hash)
{
    assert(strlen(id) < sizeof(problem->existing_id));
    problem->has_existing = true;
    strcpy(problem->existing_id, id);
    problem->is_same_request = made_by && strcmp(made_by, request_hash) == 0;
}

/* The table's status; 507 for errors of storage that has no space. */
static int problem_status(const struct err *err)
{
    bool storage = err->code == ErrOpenFileFailed || err->code == ErrStoreFailed;
    bool full = err->errnum == ENOSPC || err->errnum == EDQUOT;
    return storage && full ? 507 : err_code_status(err->code);
}

/* Whether the same request may succeed later: as in the table, and where space may be freed,
 * another process may release its lock, or a failed device is opened again and again. */
static bool problem_is_retryable(const struct err *err)
{
    bool is_passing = err->code == ErrOpenFileFailed || err->code == ErrDeviceFailed;
    return (is_passing && err->errnum == EAGAIN) || problem_status(err) == 507 ||
           err_code_retryable(err->code);
}

static void problem_add_holder(struct cJSON *json, const struct err *err)
{
    const struct err_client *client = &err->holder_client;
    struct cJSON *holder = cJSON_AddObjectToObject(json, "holder");
    encode_text(holder, "kind", err->holder_kind);
    encode_text(holder, "id", err->holder_id);
    if (!client->pid && !*client->address)
        return;
    struct cJSON *member = cJSON_AddObjectToObject(holder, "client");
    if (*client->address)
        encode_text(member, "address", client->address);
    if (client->pid) {
        encode_number(member, "pid", (uint64_t)client->pid);
        encode_number(member, "uid", client->uid);
    }
    if (*client->tls_name)
        encode_text(member, "tls_name", client->tls_name);
}

static void problem_add_existing(struct cJSON *json, const struct problem *problem)
{
    struct cJSON *existing = cJSON_AddObjectToObject(json, "existing");
    encode_text(existing, "id", problem->existing_id);
    encode_bool(existing, "same_request", problem->is_same_request);
}

struct cJSON *problem_encode(const struct problem *problem)
{
    const struct err *err = &problem->err;
    int status = problem_status(err);
    char detail[ADVICE_TEXT_BYTES];
    advice_format(err, detail);
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "type", "about:blank");
    encode_text(json, "title", reply_phrase(status));
    encode_number(json, "status", (uint64_t)status);
    encode_text(json, "detail", detail);
    if (problem->instance)
        encode_text(json, "instance", problem->instance);
    encode_text(json, "code", err_code_name(err->code));
    encode_bool(json, "retryable", problem_is_retryable(err));
    if (problem->device)
        encode_text(json, "device", problem->device);
    if (problem->snapshot_file)
        encode_text(json, "snapshot_file", problem->snapshot_file);
    if (err->code == ErrDeviceInUse && err->holder_kind)
        problem_add_holder(json, err);
    if (problem->has_existing)
        problem_add_existing(json, problem);
    if (problem->has_pointer)
        encode_text(json, "pointer", problem->pointer);
    return json;
}

/* ---- replies ---- */

/* Writes the problem that needs no memory; id and path have no character that JSON escapes. */
static const char *spare_fill(struct reply *reply)
{
    size_t length = text_add(
        reply->spare, 0, sizeof(reply->spare),
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"there is no memory for the reply; try again\",\"code\":\"OutOfResources\","
        "\"retryable\":true");
    if (reply->instance)
        length = text_add(reply->spare, length, sizeof(reply->spare), ",\"instance\":\"%s\"",
                          reply->instance);
    if (reply->request_id)
        length = text_add(reply->spare, length, sizeof(reply->spare), ",\"request_id\":\"%s\"",
                          reply->request_id);
    text_add(reply->spare, length, sizeof(reply->spare), "}");
    return reply->spare;
}

static void reply_set(struct reply *reply, int status, const char *content_type, struct cJSON *json)
{
    reply_clear(reply);
    reply->body = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    reply->static_body = reply->body ? NULL : spare_fill(reply);
    reply->status = reply->body ? status : 503;
    reply->body_bytes = strlen(reply->body ? reply->body : reply->static_body);
    reply_header_add(reply, "Content-Type", "%s",
                     reply->body ? content_type : "application/problem+json");
    if (reply->status == 503)
        reply_header_add(reply, "Retry-After", "%d", RETRY_AFTER_S);
}

void reply_json(struct reply *reply, int status, struct cJSON *json)
{
    reply_set(reply, status, "application/json", json);
}

void reply_made(struct reply *reply, int status, const char *prefix, const char *name,
                struct cJSON *json)
{
    reply_json(reply, status, json);
    if (reply->status == status)
        reply_header_add(reply, "Location", "%s/%s", prefix, name);
}

void reply_created(struct reply *reply, const char *prefix, const char *name, struct cJSON *json)
{
    reply_made(reply, 201, prefix, name, json);
}

void reply_not_modified(struct reply *reply)
{
    char tag[REPLY_TAG_BYTES];
    bool is_kept = reply->is_kept, varies_by_coding = reply->varies_by_coding;
    strcpy(tag, reply->tag);
    reply_clear(reply);
    reply->status = 304;
    reply->is_kept = is_kept;
    reply->varies_by_coding = varies_by_coding;
    reply_header_add(reply, "ETag", "\"%s\"", tag);
}

void reply_nothing(struct reply *reply)
{
    reply_clear(reply);
    reply->status = 204;
}

void reply_static(struct reply *reply, const char *content_type, const char *text, size_t bytes)
{
    reply_clear(reply);
    reply->status = 200;
    reply->static_body = text;
    reply->body_bytes = bytes;
    reply->is_kept = true;
    reply_header_add(reply, "Content-Type", "%s", content_type);
}

void reply_text(struct reply *reply, const char *content_type, char *text, size_t bytes)
{
    reply_clear(reply);
    reply->status = 200;
    reply->body = text;
    reply->body_bytes = bytes;
    reply_header_add(reply, "Content-Type", "%s", content_type);
}

void reply_stream(struct reply *reply, const struct subscription *subscription)
{
    reply_clear(reply);
    reply->status = 200;
    reply->is_stream = true;
    reply->subscription = *subscription;
    reply_header_add(reply, "Content-Type", "%s", EVENT_STREAM_TYPE);
}

void reply_problem(struct reply *reply, const struct problem *problem)
{
    struct problem placed = *problem;
    if (!placed.instance)
        placed.instance = reply->instance;
    struct cJSON *json = problem_encode(&placed);
    if (reply->request_id)
        encode_text(json, "request_id", reply->request_id);
    reply_set(reply, problem_status(&placed.err), "application/problem+json", json);
    reply->is_retryable = problem_is_retryable(&placed.err);
    if (placed.err.code == ErrIdempotencyInProgress && reply->status != 503)
        reply_header_add(reply, "Retry-After", "%d", RETRY_AFTER_S);
}

void reply_kept_problem(struct reply *reply, struct cJSON *json)
{
    int status = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(json, "status"));
    bool is_retryable = cJSON_IsTrue(cJSON_GetObjectItem(json, "retryable"));
    if (reply->request_id)
        encode_text(json, "request_id", reply->request_id);
    reply_set(reply, status, "application/problem+json", json);
    reply->is_retryable = is_retryable;
}

void reply_error(struct reply *reply, const struct err *err)
{
    struct problem problem = {.err = *err};
    reply_problem(reply, &problem);
}
