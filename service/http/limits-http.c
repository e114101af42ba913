/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /limits and GET /version: what the daemon takes, and what it can do. LIMITS is the one list
 * of limits that callers meet: it has each constant of every limits.h
 * (tests/interop/limits-are-all-listed.py), and tests/api/every-limit-is-listed-and-hit.py meets
 * each of them.
 */
#include "service/http/routes.h"

#include "base/tls/limits.h"
#include "block/limits.h"
#include "service/context.h"
#include "service/http/condition.h"
#include "service/http/encode.h"
#include "service/http/limits.h"
#include "service/limits.h"
#include "store/idempotency.h"
#include "store/limits.h"

/* Name in the reply, value. */
#define LIMITS(X)                                                                                  \
    /* of a request */                                                                             \
    X("target_bytes", HTTP_TARGET_MAX_BYTES)                                                       \
    X("head_bytes", HTTP_HEAD_MAX_BYTES)                                                           \
    X("head_fields", HTTP_FIELDS_MAX)                                                              \
    X("query_parameters", REQUEST_PARAMETERS_MAX)                                                  \
    X("request_id_chars", REQUEST_ID_CHARS_MAX)                                                    \
    X("idempotency_key_chars", KEY_CHARS_MAX)                                                      \
    X("prefer_wait_seconds", PREFER_WAIT_MAX_S)                                                    \
    X("body_bytes", REQUEST_BODY_MAX_BYTES)                                                        \
    X("body_depth", JSON_DEPTH_MAX)                                                                \
    X("body_values", JSON_VALUES_MAX)                                                              \
    X("number_chars", JSON_NUMBER_CHARS_MAX)                                                       \
    X("integer_value", JSON_INTEGER_MAX)                                                           \
    X("chunk_line_bytes", HTTP_CHUNK_LINE_MAX)                                                     \
    X("trailer_fields", HTTP_TRAILERS_MAX)                                                         \
    /* of time */                                                                                  \
    X("head_seconds", HTTP_HEAD_S)                                                                 \
    X("body_seconds", HTTP_BODY_S)                                                                 \
    X("reply_seconds", HTTP_REPLY_S)                                                               \
    X("idle_seconds", HTTP_IDLE_S)                                                                 \
    X("group_deadline_ms", GROUP_DEADLINE_MAX_MS)                                                  \
    X("group_settle_ms", GROUP_SETTLE_MAX_MS)                                                      \
    X("extent_wait_ms", EXTENT_WAIT_MAX_MS)                                                        \
    X("plan_wait_ms", PLAN_WAIT_MAX_MS)                                                            \
    X("rollback_disconnect_ms", ROLLBACK_DISCONNECT_MS)                                            \
    /* of what it names */                                                                         \
    X("device_name_chars", DEVICE_NAME_MAX)                                                        \
    X("device_size_bytes", DEVICE_SIZE_MAX_BYTES)                                                  \
    X("cluster_size_bytes", CLUSTER_BYTES_MAX)                                                     \
    X("path_bytes", PATH_BYTES_MAX)                                                                \
    X("group_name_chars", GROUP_NAME_MAX)                                                          \
    X("group_members", GROUP_MEMBERS_MAX)                                                          \
    X("labels", LABELS_MAX)                                                                        \
    X("label_bytes", LABEL_BYTES_MAX)                                                              \
    X("allowed_clients", ALLOWED_CLIENTS_MAX)                                                      \
    X("allowed_client_bytes", ALLOWED_CLIENT_BYTES_MAX)                                            \
    X("token_name_chars", TOKEN_NAME_MAX)                                                          \
    /* of images */                                                                                \
    X("chain_images", CHAIN_NODES_MAX)                                                             \
    X("qcow2_l1_table_bytes", QCOW2_L1_BYTES_MAX)                                                  \
    X("qcow2_refcount_table_bytes", QCOW2_REFCOUNT_TABLE_BYTES_MAX)                                \
    X("qcow2_snapshots", QCOW2_SNAPSHOTS_MAX)                                                      \
    X("qcow2_snapshot_table_bytes", QCOW2_SNAPSHOT_TABLE_BYTES_MAX)                                \
    X("qcow2_snapshot_l1_tables_bytes", QCOW2_SNAPSHOT_L1_BYTES_MAX)                               \
    X("qcow2_backing_name_bytes", QCOW2_BACKING_NAME_MAX)                                          \
    /* of lists */                                                                                 \
    X("page_items", REQUEST_LIMIT_MAX)                                                             \
    X("page_bytes", STORE_PAGE_BYTES_MAX)                                                          \
    X("page_extents", EXTENT_ITEMS_MAX)                                                            \
    X("filter_labels", LIST_LABELS_MAX)                                                            \
    /* at a time, of one caller */                                                                 \
    X("unix_connections", HTTP_UNIX_PEER_MAX)                                                      \
    X("tcp_connections", HTTP_TCP_PEER_MAX)                                                        \
    X("subscribers", SUBSCRIBERS_PEER_MAX)                                                         \
    X("failed_proofs", THROTTLE_BURST)                                                             \
    X("failed_proof_interval_ms", THROTTLE_INTERVAL_MS)                                            \
    /* at a time, of all callers */                                                                \
    X("all_unix_connections", HTTP_UNIX_MAX)                                                       \
    X("all_forbidden_connections", HTTP_UNIX_FORBIDDEN_MAX)                                        \
    X("all_tcp_connections", HTTP_TCP_MAX)                                                         \
    X("all_subscribers", SUBSCRIBERS_MAX)                                                          \
    X("calls", SERVICE_CALLS_MAX)                                                                  \
    X("running_groups", GROUP_RUNS_MAX)                                                            \
    X("running_jobs", JOBS_RUNNING_MAX)                                                            \
    X("begun_jobs", JOBS_BEGUN_MAX)                                                                \
    X("extent_calls", EXTENT_CALLS_MAX)                                                            \
    X("request_memory_bytes", MEMORY_BYTES_MAX)                                                    \
    /* of what is kept */                                                                          \
    X("kept_for_names", STORE_KEEPERS_MAX)                                                         \
    X("group_holds", STORE_HOLDS_MAX)                                                              \
    X("finished_jobs", STORE_JOBS_MAX)                                                             \
    X("finished_job_days", STORE_JOB_DAYS_MAX)                                                     \
    X("tokens", TOKENS_MAX)                                                                        \
    X("expired_token_days", STORE_TOKEN_DAYS_MAX)                                                  \
    X("aborted_groups", STORE_ABORTED_GROUPS_MAX)                                                  \
    X("aborted_group_days", STORE_ABORTED_DAYS_MAX)                                                \
    X("deleted_groups", STORE_DELETED_GROUPS_MAX)                                                  \
    X("deleted_group_days", STORE_DELETED_DAYS_MAX)                                                \
    X("events", STORE_EVENTS_MAX)                                                                  \
    X("event_days", STORE_EVENT_DAYS_MAX)                                                          \
    X("idempotency_keys", STORE_KEYS_MAX)                                                          \
    /* of NBD */                                                                                   \
    X("nbd_addresses", NBD_LISTENERS_MAX)                                                          \
    X("nbd_connections", NBD_CONNECTIONS_MAX)                                                      \
    X("nbd_tcp_connections", NBD_TCP_CONNECTIONS_MAX)                                              \
    X("nbd_address_connections", NBD_TCP_PEER_MAX)                                                 \
    X("nbd_user_connections", NBD_UNIX_PEER_MAX)                                                   \
    X("nbd_handshakes", NBD_HANDSHAKES_MAX)                                                        \
    X("nbd_handshake_ms", NBD_HANDSHAKE_MAX_MS)                                                    \
    X("nbd_whole_handshake_ms", NBD_HANDSHAKE_ALL_MAX_MS)                                          \
    X("nbd_useless_options", NBD_USELESS_OPTIONS_MAX)                                              \
    X("nbd_option_bytes", NBD_OPTION_BYTES_MAX)                                                    \
    X("nbd_skipped_option_bytes", NBD_OPTION_SKIP_BYTES_MAX)                                       \
    X("nbd_export_name_bytes", NBD_STRING_BYTES_MAX)                                               \
    X("nbd_request_bytes", NBD_PAYLOAD_BYTES_MAX)                                                  \
    X("nbd_tasks", NBD_TASKS_MAX)                                                                  \
    X("nbd_task_bytes", NBD_TASK_BYTES_MAX)                                                        \
    X("nbd_memory_bytes", NBD_MEMORY_BYTES_MAX)                                                    \
    /* of the configuration */                                                                     \
    X("option_addresses", OPTIONS_ADDRESSES_MAX)                                                   \
    X("option_groups", OPTIONS_GROUPS_MAX)                                                         \
    X("tls_file_bytes", TLS_FILE_BYTES_MAX)                                                        \
    X("tls_key_bytes", TLS_KEY_BYTES_MAX)                                                          \
    X("tls_client_names", TLS_NAMES_MAX)                                                           \
    X("tls_client_name_bytes", TLS_NAME_BYTES_MAX)

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
    "allowed_clients", "changed_extents", "clones",           "conditions",
    "copies",          "dry_run",         "event_stream",     "events",
    "group_deadline",  "group_settle",    "idempotency_keys", "jobs",
    "labels",          "list_filters",    "merge_patches",    "nbd_tls",
    "respond_async",   "rest_tls",        "rollbacks",        "selector",
    "tokens",
};

void limits_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)request;
    struct cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
        encode_number(json, limits[i].name, limits[i].value);
    encode_number(json, "idempotency_key_seconds", store_keys_kept(service->store));
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
