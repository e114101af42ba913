/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies, and the one border where an error code becomes an HTTP status. See reply.h.
 */
#include "service/http/reply.h"

#include "service/http/encode.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void reply_clear(struct reply *reply)
{
    free(reply->body);
    free(reply->location);
    free(reply->allow);
    *reply = (struct reply){0};
}

int problem_point(struct problem *problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(problem->pointer, sizeof(problem->pointer), format, args);
    va_end(args);
    /* A pointer cut short would name something else. */
    problem->has_pointer = length >= 0 && (size_t)length < sizeof(problem->pointer);
    return -1;
}

/* The table's status, but for errors whose cause is that there is no space. */
static int problem_status(const struct err *err)
{
    bool storage = err->code == ErrOpenFileFailed || err->code == ErrStoreFailed;
    bool full = err->errnum == ENOSPC || err->errnum == EDQUOT;
    return storage && full ? 507 : err_code_status(err->code);
}

/* The phrases of RFC 9110, section 15, RFC 6585 (431) and RFC 4918 (507). */
const char *reply_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } titles[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
        if (titles[i].status == status)
            return titles[i].phrase;
    return "Error";
}

struct cJSON *problem_encode(const struct problem *problem)
{
    const struct err *err = &problem->err;
    int status = problem_status(err);
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "type", "about:blank");
    encode_text(json, "title", reply_phrase(status));
    encode_number(json, "status", (uint64_t)status);
    encode_text(json, "detail", err->message);
    encode_text(json, "code", err_code_name(err->code));
    encode_bool(json, "retryable", err_code_retryable(err->code));
    if (problem->device)
        encode_text(json, "device", problem->device);
    if (problem->snapshot_file)
        encode_text(json, "snapshot_file", problem->snapshot_file);
    if (problem->has_pointer)
        encode_text(json, "pointer", problem->pointer);
    return json;
}

static void reply_set(struct reply *reply, int status, const char *content_type, struct cJSON *json)
{
    reply_clear(reply);
    reply->status = status;
    reply->content_type = content_type;
    reply->body = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (reply->body) {
        reply->body_bytes = strlen(reply->body);
        return;
    }
    static const char no_memory[] =
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"there is no memory for the reply\",\"code\":\"OutOfResources\","
        "\"retryable\":true}";
    reply->status = 503;
    reply->content_type = "application/problem+json";
    reply->static_body = no_memory;
    reply->body_bytes = sizeof(no_memory) - 1;
}

void reply_json(struct reply *reply, int status, struct cJSON *json)
{
    reply_set(reply, status, "application/json", json);
}

void reply_created(struct reply *reply, const char *prefix, const char *name, struct cJSON *json)
{
    reply_json(reply, 201, json);
    if (reply->status == 201 && asprintf(&reply->location, "%s/%s", prefix, name) < 0)
        reply->location = NULL;
}

void reply_nothing(struct reply *reply)
{
    reply_clear(reply);
    reply->status = 204;
}

void reply_static(struct reply *reply, const char *content_type, const char *text, size_t bytes)
{
    reply_clear(reply);
    *reply = (struct reply){
        .status = 200, .content_type = content_type, .static_body = text, .body_bytes = bytes};
}

void reply_problem(struct reply *reply, const struct problem *problem)
{
    reply_set(reply, problem_status(&problem->err), "application/problem+json",
              problem_encode(problem));
}

void reply_error(struct reply *reply, const struct err *err)
{
    struct problem problem = {.err = *err};
    reply_problem(reply, &problem);
}
