/* SPDX-License-Identifier: Apache-2.0
 *
 * /tokens: decodes requests, calls tokens.c, encodes what it returns. The secret is in the reply to
 * POST and nowhere else: what is kept for a repeated Idempotency-Key lacks it.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/http/condition.h"
#include "service/http/decode.h"
#include "service/http/encode.h"
#include "service/names.h"
#include "service/tokens.h"
#include "store/tokens.h"

#include <string.h>

#define SCOPE_BYTES_MAX 16
#define TIME_BYTES_MAX  64

static struct cJSON *token_encode(const struct token_row *row)
{
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "id", row->id);
    encode_text(json, "name", row->name);
    encode_text(json, "scope", scope_name(row->scope));
    encode_time(json, "created_at", row->created_at_us);
    if (row->has_expiry)
        encode_time(json, "expires_at", row->expires_at_us);
    else
        encode_null(json, "expires_at");
    return json;
}

/* The body of POST /tokens. */
struct token_body {
    const char *name, *scope, *expires_at;
};

static const struct decode_field token_fields[] = {
    {"name", DECODE_TEXT, true, offsetof(struct token_body, name), TOKEN_NAME_MAX},
    {"scope", DECODE_TEXT, true, offsetof(struct token_body, scope), SCOPE_BYTES_MAX},
    {"expires_at", DECODE_TEXT, false, offsetof(struct token_body, expires_at), TIME_BYTES_MAX},
};

const struct decode_table token_create_body = DECODE_TABLE(struct token_body, token_fields, true);

/* The secret is in this reply only: not in what is kept for a repeated request. */
static void token_reply_created(const struct token_row *row, const char *secret,
                                struct reply *reply)
{
    struct cJSON *json = token_encode(row);
    char *kept = cJSON_PrintUnformatted(json);
    encode_text(json, "secret", secret);
    reply_created(reply, "/tokens", row->id, json);
    if (kept)
        reply_tag_row(reply, row->id, STORE_REVISION_FIRST, kept);
    reply->has_secret = true;
    reply->kept_body = kept;
}

void token_create(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {0};
    const struct token_body *body = request->fields;
    struct token_request wanted;
    const char *field;
    char secret[TOKEN_SECRET_CHARS + 1];
    CLEANUP_BY(token_row_clear) struct token_row row = {0};
    if (token_request_read(&wanted, body->name, body->scope, body->expires_at, &field,
                           &problem.err) != 0) {
        problem_point(&problem, "/%s", field);
        reply_problem(reply, &problem);
        return;
    }
    if (tokens_create(service, &request->origin, &wanted, &row, secret, &problem.err) != 0) {
        if (problem.err.code == ErrTokenExists)
            problem_point(&problem, "/name");
        reply_problem(reply, &problem);
        return;
    }
    token_reply_created(&row, secret, reply);
    explicit_bzero(secret, sizeof(secret));
}

void token_get(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(token_row_clear) struct token_row row = {0};
    if (tokens_get(service, request->argument, &row, &err) != 0)
        reply_error(reply, &err);
    else
        reply_tagged(reply, token_encode(&row), row.id, STORE_REVISION_FIRST);
}

void token_delete(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    struct condition condition;
    if (tokens_delete(service, &request->origin, request->argument,
                      request_condition(request, &condition), &err) != 0)
        reply_error(reply, &err);
    else
        reply_nothing(reply);
}

void token_list(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    const char *after = request_parameter(request, "cursor");
    struct token_row *rows;
    size_t limit, count;
    bool more;
    if (after && !name_is_valid(after, TOKEN_NAME_MAX)) {
        err_set(&err, ErrInvalidParameter, 0, "query parameter 'cursor' is not a value of 'next'");
        reply_error(reply, &err);
        return;
    }
    if (request_limit(request, &limit, &err) != 0 ||
        tokens_list(service, after, limit, &rows, &count, &more, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(items, token_encode(&rows[i]));
    encode_text(json, "next", more ? rows[count - 1].name : NULL);
    token_rows_free(rows, count);
    reply_json(reply, 200, json);
    reply_tag(reply);
}
