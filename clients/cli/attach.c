/* SPDX-License-Identifier: Apache-2.0
 *
 * See attach.h. The daemon names the place for clients on its own machine; --nbd is for others.
 */
#include "clients/cli/attach.h"

#include "clients/cli/cell.h"
#include "clients/cli/recipes.h"
#include "clients/cli/result.h"
#include "clients/cli/send.h"
#include "clients/cli/uri.h"

#include <stdio.h>
#include <string.h>

static const struct recipe *recipe_find(const char *program)
{
    for (const struct recipe *recipe = recipes; recipe->program; recipe++)
        if (strcmp(recipe->program, program) == 0)
            return recipe;
    return NULL;
}

/* Fails unless the group has this member, and it can be read. */
static int member_check(struct call *call, const char *device, const char *group)
{
    CLEANUP_FREE char *path = uri_path("snapshot-groups", group, NULL);
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *json = NULL;
    const cJSON *member;
    if (client_get(call, path, &reply, &json) != 0)
        return -1;
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(json, "members"))
    {
        const char *name = cJSON_GetStringValue(cell_value(member, "device"));
        bool is_ready = cJSON_IsTrue(cell_value(member, "ready_to_use"));
        if (name && strcmp(name, device) == 0 && is_ready)
            return 0;
        if (name && strcmp(name, device) == 0)
            return fail(&call->failure, EXIT_CONFLICT, "'%s' of group '%s' cannot be read now",
                        device, group);
    }
    return fail(&call->failure, EXIT_NOT_FOUND, "group '%s' has no member '%s'", group, device);
}

/* The URI that the daemon names for the device, with the name replaced; the caller frees both. */
static int device_ask(struct call *call, const char *device, char **uri, bool *is_read_only)
{
    CLEANUP_FREE char *path = uri_path("devices", device, NULL);
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *json = NULL;
    if (client_get(call, path, &reply, &json) != 0)
        return -1;
    const char *text = cJSON_GetStringValue(cell_value(json, "export.uri"));
    *is_read_only = cJSON_IsTrue(cell_value(json, "read_only"));
    *uri = text ? strdup(text) : NULL;
    return *uri ? 0
                : fail(&call->failure, EXIT_REFUSED, "the daemon names no export of '%s'", device);
}

/* Texts are pasted, and quoted for that; but a terminal obeys control characters before. */
static int text_check(struct call *call, const char *text)
{
    for (const char *c = text ? text : ""; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            return fail(&call->failure, EXIT_REFUSED,
                        "'%s' is not written here: it has characters that are no plain ones", text);
    return 0;
}

/* Finds the export of DEVICE or DEVICE@GROUP. */
static int export_find(struct call *call, const char *name, struct export *export)
{
    const char *at = strchr(name, '@'), *address = call_option(call, OPTION_NBD);
    CLEANUP_FREE char *device = strndup(name, at ? (size_t)(at - name) : strlen(name));
    CLEANUP_FREE char *uri = NULL;
    bool is_read_only = true;
    if (!device)
        return fail_memory(&call->failure);
    if (at && member_check(call, device, at + 1) != 0)
        return -1;
    if (!(at && address) && device_ask(call, device, &uri, &is_read_only) != 0)
        return -1;
    int result = address ? export_parse_address(export, name, address, &call->failure)
                         : export_parse_uri(export, uri, &call->failure);
    export->is_read_only = at || is_read_only;
    export->cert_dir = call_option(call, OPTION_CERT_DIR);
    if (result == 0 && at && !address) {
        free(export->name);
        export->name = strdup(name);
    }
    return result == 0 && !export->name ? fail_memory(&call->failure) : result;
}

int run_attach(struct call *call)
{
    const struct recipe *recipe = recipe_find(call_option(call, OPTION_AS));
    CLEANUP_BY(export_release) struct export export = {0};
    const char *cert_dir = call_option(call, OPTION_CERT_DIR);
    if (!recipe)
        return fail(&call->failure, EXIT_USAGE, "--as: '%s' is not %s",
                    call_option(call, OPTION_AS), call->option_rows[OPTION_AS].value);
    if (cert_dir && *cert_dir != '/')
        return fail(&call->failure, EXIT_USAGE, "--cert-dir: '%s' is no absolute path", cert_dir);
    if (export_find(call, call_argument(call, 0), &export) != 0)
        return -1;
    if (text_check(call, export.name) != 0 || text_check(call, export.socket) != 0 ||
        text_check(call, export.host) != 0 || text_check(call, cert_dir) != 0)
        return -1;
    return recipe->print(&export, &call->failure);
}
