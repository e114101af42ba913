/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /limits and GET /version: what the daemon takes, and what it can do. LIMITS is the one list
 * of limits that callers meet; tests/api/every-limit-is-listed-and-hit.py meets each of them.
 */
#include "service/http/routes.h"

#include "block/block.h"
#include "block/group.h"
#include "service/group-runs.h"
#include "service/http/body.h"
#include "service/http/client-names.h"
#include "service/http/condition.h"
#include "service/http/encode.h"
#include "service/http/head.h"
#include "service/http/json-syntax.h"
#include "service/http/list.h"
#include "service/http/server.h"
#include "service/http/subscribers.h"
#include "service/idempotency.h"
#include "service/names.h"
#include "service/tokens.h"
#include "store/groups.h"

/* Name in the reply, value. */
#define LIMITS(X)                                                                                  \
    /* of a request */                                                                             \
    X("target_bytes", HTTP_TARGET_MAX_BYTES)                                                       \
    X("head_bytes", HTTP_HEAD_MAX_BYTES)                                                           \
    X("head_fields", HTTP_FIELDS_MAX)                                                              \
    X("query_parameters", REQUEST_PARAMETERS_MAX)                                                  \
    X("request_id_chars", REQUEST_ID_CHARS_MAX)                                                    \
    X("idempotency_key_chars", KEY_CHARS_MAX)                                                      \
    X("body_bytes", REQUEST_BODY_MAX_BYTES)                                                        \
    X("body_depth", JSON_DEPTH_MAX)                                                                \
    X("body_values", JSON_VALUES_MAX)                                                              \
    X("chunk_line_bytes", HTTP_CHUNK_LINE_MAX)                                                     \
    X("trailer_fields", HTTP_TRAILERS_MAX)                                                         \
    /* of what it names */                                                                         \
    X("device_name_chars", DEVICE_NAME_MAX)                                                        \
    X("device_size_bytes", DEVICE_SIZE_MAX_BYTES)                                                  \
    X("cluster_size_bytes", CLUSTER_BYTES_MAX)                                                     \
    X("group_name_chars", GROUP_NAME_MAX)                                                          \
    X("group_members", GROUP_MEMBERS_MAX)                                                          \
    X("group_deadline_ms", GROUP_DEADLINE_MAX_MS)                                                  \
    X("labels", LABELS_MAX)                                                                        \
    X("label_bytes", LABEL_BYTES_MAX)                                                              \
    X("allowed_clients", ALLOWED_CLIENTS_MAX)                                                      \
    X("allowed_client_bytes", ALLOWED_CLIENT_BYTES_MAX)                                            \
    X("token_name_chars", TOKEN_NAME_MAX)                                                          \
    /* of lists */                                                                                 \
    X("page_items", REQUEST_LIMIT_MAX)                                                             \
    X("page_bytes", STORE_PAGE_BYTES_MAX)                                                          \
    X("filter_labels", LIST_LABELS_MAX)                                                            \
    /* at a time, of one caller */                                                                 \
    X("unix_connections", HTTP_UNIX_PEER_MAX)                                                      \
    X("tcp_connections", HTTP_TCP_PEER_MAX)                                                        \
    X("subscribers", SUBSCRIBERS_PEER_MAX)                                                         \
    /* of what is kept */                                                                          \
    X("tokens", TOKENS_MAX)                                                                        \
    X("aborted_groups", STORE_ABORTED_GROUPS_MAX)

static const struct {
    const char *name;
    uint64_t value;
} limits[] = {
#define LIMIT_ROW(name, value) {name, value},
    LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

/* What a client may rely on; a name is never taken away while the major version stays. */
static const char *const features[] = {
    "allowed_clients", "conditions",       "dry_run",  "event_stream", "events",
    "group_deadline",  "idempotency_keys", "labels",   "list_filters", "merge_patches",
    "nbd_tls",         "respond_async",    "rest_tls", "selector",     "tokens",
};

void limits_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    (void)request;
    struct cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
        encode_number(json, limits[i].name, limits[i].value);
    reply_json(reply, 200, json);
    reply_tag(reply);
}

void version_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    (void)request;
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "version", SNAPGROUPD_VERSION);
    encode_text(json, "api", SNAPGROUPD_VERSION);
    struct cJSON *names = encode_array(json, "features");
    for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++)
        cJSON_AddItemToArray(names, cJSON_CreateStringReference(features[i]));
    reply_json(reply, 200, json);
    reply_tag(reply);
}
