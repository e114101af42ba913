/* SPDX-License-Identifier: Apache-2.0
 *
 * See token.h.
 */
#include "clients/cli/token.h"

#include "clients/cli/body.h"
#include "clients/cli/list.h"
#include "clients/cli/result.h"
#include "clients/cli/uri.h"

static const struct column columns[] = {
    {"NAME", "name", CELL_TEXT, false},
    {"SCOPE", "scope", CELL_TEXT, false},
    {"CREATED", "created_at", CELL_TIME, false},
    {"EXPIRES", "expires_at", CELL_TIME, false},
    {"ID", "id", CELL_TEXT, true},
};
static const struct resource token = RESOURCE("name", columns);

static const struct column new_columns[] = {
    {"NAME", "name", CELL_TEXT, false},
    {"SCOPE", "scope", CELL_TEXT, false},
    {"EXPIRES", "expires_at", CELL_TIME, false},
    {"SECRET", "secret", CELL_TEXT, false},
};
static const struct resource new_token = RESOURCE("secret", new_columns);

int run_token_list(struct call *call)
{
    return list_show_kind(call, "tokens", &token);
}

int run_token_show(struct call *call)
{
    return list_show_one(call, "tokens", &token);
}

int run_token_create(struct call *call)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    if (!body)
        return fail_memory(&call->failure);
    if (body_add_text(call, body, "name", call_argument(call, 0)) != 0 ||
        body_add_option(call, body, "scope", OPTION_SCOPE) != 0 ||
        body_add_option(call, body, "expires_at", OPTION_EXPIRES_AT) != 0)
        return -1;
    struct request request = {.method = "POST", .path = "/tokens"};
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    CLEANUP_JSON cJSON *made = reply.body ? cJSON_Parse(reply.body) : NULL;
    if (!cJSON_HasObjectItem(made, "secret"))
        return fail(&call->failure, EXIT_REFUSED,
                    "the token is made, but the reply with its secret was lost; revoke it, and "
                    "make it again");
    return result_row(call, &reply, &new_token);
}

int run_token_revoke(struct call *call)
{
    CLEANUP_FREE char *path = uri_path("tokens", call_argument(call, 0), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    struct request request = {.method = "DELETE", .path = path};
    if (!path)
        return fail_memory(&call->failure);
    return client_send(call, &request, &reply);
}
