/* SPDX-License-Identifier: Apache-2.0
 *
 * See device-encode.h.
 */
#include "service/http/device-encode.h"

#include "service/context.h"
#include "service/http/condition.h"
#include "service/http/encode.h"

#include <stdio.h>
#include <string.h>

/* Percent-encodes for a URI's query (RFC 3986, section 3.4), where '/' is allowed. */
static void path_escape(const char *text, char *escaped, size_t bytes)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    static const char digits[] = "0123456789ABCDEF";
    size_t length = 0;
    for (; *text && length + 4 <= bytes; text++) {
        unsigned char byte = (unsigned char)*text;
        if (strchr(plain, *text)) {
            escaped[length++] = *text;
            continue;
        }
        escaped[length++] = '%';
        escaped[length++] = digits[byte >> 4];
        escaped[length++] = digits[byte & 15];
    }
    escaped[length] = '\0';
}

static void encode_export(struct cJSON *json, const struct service *service,
                          const struct device_view *view)
{
    const char *name = view->row.name;
    char uri[1024] = "", escaped[512];
    const char *address = block_nbd_reach(service->block);
    const char *scheme = view->needs_tls ? "nbds" : "nbd";
    struct cJSON *export = cJSON_AddObjectToObject(json, "export");
    if (address && strncmp(address, "unix:", 5) == 0) {
        path_escape(address + 5, escaped, sizeof(escaped));
        snprintf(uri, sizeof(uri), "%s+unix:///%s?socket=%s", scheme, name, escaped);
    } else if (address) {
        snprintf(uri, sizeof(uri), "%s://%s/%s", scheme, address, name);
    }
    encode_text(export, "uri", address ? uri : NULL);
}

/* "group monday", "device vdc", "image /var/lib/..."; "others". */
static void encode_keeper(struct cJSON *keepers, const struct keeper_row *row)
{
    static const char *const kinds[] = {
        [KEEPER_GROUP] = "group ", [KEEPER_DEVICE] = "device ", [KEEPER_IMAGE] = "image "};
    CLEANUP_FREE char *text = NULL;
    if (row->kind == KEEPER_OTHERS)
        cJSON_AddItemToArray(keepers, cJSON_CreateStringReference("others"));
    else if (asprintf(&text, "%s%s", kinds[row->kind], row->name) >= 0)
        cJSON_AddItemToArray(keepers, cJSON_CreateString(text));
}

static void encode_keepers(struct cJSON *json, const struct device_view *view, const char *image)
{
    struct cJSON *keepers = encode_array(json, "kept_for");
    for (size_t i = 0; i < view->keeper_count; i++)
        if (strcmp(view->keepers[i].image, image) == 0)
            encode_keeper(keepers, &view->keepers[i]);
}

static void encode_chain(struct cJSON *json, const struct device_view *view)
{
    const struct device_info *info = &view->info;
    struct cJSON *chain = encode_array(json, "chain");
    for (size_t i = 0; i < info->chain_length; i++) {
        struct cJSON *image = encode_item(chain);
        encode_text(image, "image", info->chain[i].image);
        encode_text(image, "format", info->chain[i].format);
        encode_number(image, "size_bytes", info->chain[i].size_bytes);
        encode_number(image, "allocated_bytes", info->chain[i].allocated_bytes);
        encode_keepers(image, view, info->chain[i].image);
    }
}

static void encode_origin(struct cJSON *json, const struct device_row *row)
{
    if (!row->origin_how) {
        encode_null(json, "origin");
        return;
    }
    struct cJSON *origin = encode_object(json, "origin");
    encode_text(origin, "group", row->origin_group);
    encode_text(origin, "device", row->origin_device);
    encode_time(origin, "at", row->origin_at_us);
    encode_text(origin, "how", row->origin_how);
}

struct cJSON *device_encode(const struct service *service, const struct device_view *view)
{
    const struct device_row *row = &view->row;
    const struct device_info *info = &view->info;
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "name", row->name);
    encode_text(json, "engine", "native");
    encode_text(json, "image", row->image);
    encode_text(json, "top", info->top ? info->top : row->top);
    encode_text(json, "format", info->format ? info->format : row->top_format);
    encode_number(json, "size_bytes", info->size_bytes);
    encode_bool(json, "read_only", row->read_only);
    encode_number(json, "cluster_size_bytes", info->overlay.cluster_bytes);
    encode_bool(json, "extended_l2", info->overlay.extended_l2);
    encode_text(json, "state", info->failed ? "failed" : "online");
    encode_text(json, "reason", info->reason);
    encode_chain(json, view);
    encode_export(json, service, view);
    encode_number(json, "clients", info->clients);
    encode_origin(json, row);
    encode_json(json, "labels", row->labels);
    if (row->allowed_clients)
        encode_json(json, "allowed_clients", row->allowed_clients);
    else
        encode_null(json, "allowed_clients");
    encode_time(json, "created_at", row->created_at_us);
    return json;
}

void reply_device(const struct service *service, struct reply *reply,
                  const struct device_view *view)
{
    reply_tagged(reply, device_encode(service, view), view->row.id, view->row.revision);
}
