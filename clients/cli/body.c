/* SPDX-License-Identifier: Apache-2.0
 *
 * See body.h.
 */
#include "clients/cli/body.h"

#include "clients/cli/values.h"

#include <stdio.h>
#include <string.h>

/* "--name", for messages. */
static const char *option_text(const struct call *call, enum option option, char text[40])
{
    snprintf(text, 40, "--%s", call->option_rows[option].name);
    return text;
}

int body_add_text(struct call *call, cJSON *body, const char *name, const char *text)
{
    return !text || cJSON_AddStringToObject(body, name, text) ? 0 : fail_memory(&call->failure);
}

int body_add_option(struct call *call, cJSON *body, const char *name, enum option option)
{
    return body_add_text(call, body, name, call_option(call, option));
}

int body_add_flag(struct call *call, cJSON *body, const char *name, enum option option)
{
    const char *value = call_option(call, option);
    if (!value)
        return 0;
    if (*value && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return fail(&call->failure, EXIT_USAGE, "--%s: '%s' is not yes or no",
                    call->option_rows[option].name, value);
    return cJSON_AddBoolToObject(body, name, strcmp(value, "no") != 0)
               ? 0
               : fail_memory(&call->failure);
}

/* Adds what `read`, a function of values.h, makes of the option. */
static int body_add_number(struct call *call, cJSON *body, const char *name, enum option option,
                           int read(const char *, const char *, int64_t *, struct failure *))
{
    char what[40];
    const char *value = call_option(call, option);
    int64_t number;
    if (!value)
        return 0;
    if (read(option_text(call, option, what), value, &number, &call->failure) != 0)
        return -1;
    return cJSON_AddNumberToObject(body, name, (double)number) ? 0 : fail_memory(&call->failure);
}

int body_add_size(struct call *call, cJSON *body, const char *name, enum option option)
{
    return body_add_number(call, body, name, option, value_size);
}

int body_add_time(struct call *call, cJSON *body, const char *name, enum option option)
{
    return body_add_number(call, body, name, option, value_time);
}

int body_add_labels(struct call *call, cJSON *body, const char *name, enum option option)
{
    char what[40];
    size_t at = 0;
    if (!call_has(call, option))
        return 0;
    cJSON *labels = cJSON_AddObjectToObject(body, name);
    if (!labels)
        return fail_memory(&call->failure);
    for (const char *text; (text = call_next(call, option, &at));)
        if (value_label(option_text(call, option, what), text, labels, &call->failure) != 0)
            return -1;
    return 0;
}

int body_add_list(struct call *call, cJSON *body, const char *name, enum option option)
{
    size_t at = 0;
    if (!call_has(call, option))
        return 0;
    cJSON *list = cJSON_AddArrayToObject(body, name);
    for (const char *text; (text = call_next(call, option, &at));)
        if (!list || !cJSON_AddItemToArray(list, cJSON_CreateString(text)))
            return fail_memory(&call->failure);
    return 0;
}

int body_add_label_patch(struct call *call, cJSON *body)
{
    size_t at = 0;
    if (!call_has(call, OPTION_LABEL) && !call_has(call, OPTION_UNLABEL))
        return 0;
    if (body_add_labels(call, body, "labels", OPTION_LABEL) != 0)
        return -1;
    cJSON *labels = cJSON_GetObjectItemCaseSensitive(body, "labels");
    if (!labels)
        labels = cJSON_AddObjectToObject(body, "labels");
    for (const char *key; (key = call_next(call, OPTION_UNLABEL, &at));) {
        if (cJSON_GetObjectItemCaseSensitive(labels, key))
            return fail(&call->failure, EXIT_USAGE, "--unlabel: '%s' comes twice", key);
        if (!cJSON_AddNullToObject(labels, key))
            return fail_memory(&call->failure);
    }
    return 0;
}

int body_send(struct call *call, struct request request, const cJSON *body, struct reply *reply)
{
    char key[SEND_KEY_BYTES];
    CLEANUP_FREE char *text = cJSON_PrintUnformatted(body);
    if (!text || !request.path)
        return fail_memory(&call->failure);
    request.body = text;
    request.match = call_option(call, OPTION_MATCH);
    if (strcmp(request.method, "POST") == 0) {
        if (send_key(call, key) != 0)
            return -1;
        request.key = key;
    }
    return client_send(call, &request, reply);
}
