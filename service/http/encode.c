/* SPDX-License-Identifier: Apache-2.0
 *
 * See encode.h. Without memory cJSON leaves the member out; printing then needs more memory than
 * any member did, and its failure becomes the reply.
 */
#include "service/http/encode.h"

#include "base/cleanup.h"
#include "service/clock.h"
#include "service/utf8.h"

#include <inttypes.h>
#include <stdio.h>

void encode_text(struct cJSON *object, const char *name, const char *text)
{
    CLEANUP_FREE char *valid = text ? utf8_repair(text) : NULL;
    if (valid)
        cJSON_AddStringToObject(object, name, valid);
    else
        encode_null(object, name);
}

void encode_bool(struct cJSON *object, const char *name, bool value)
{
    cJSON_AddBoolToObject(object, name, value);
}

void encode_null(struct cJSON *object, const char *name)
{
    cJSON_AddNullToObject(object, name);
}

void encode_number(struct cJSON *object, const char *name, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRIu64, value);
    cJSON_AddRawToObject(object, name, digits);
}

void encode_time(struct cJSON *object, const char *name, uint64_t time_us)
{
    char text[CLOCK_TEXT_BYTES];
    clock_format(time_us, text);
    cJSON_AddStringToObject(object, name, text);
}

void encode_json(struct cJSON *object, const char *name, const char *json)
{
    cJSON_AddRawToObject(object, name, json);
}

struct cJSON *encode_array(struct cJSON *object, const char *name)
{
    return cJSON_AddArrayToObject(object, name);
}

struct cJSON *encode_object(struct cJSON *object, const char *name)
{
    return cJSON_AddObjectToObject(object, name);
}

struct cJSON *encode_item(struct cJSON *array)
{
    struct cJSON *item = cJSON_CreateObject();
    if (item && !cJSON_AddItemToArray(array, item)) {
        cJSON_Delete(item);
        item = NULL;
    }
    return item;
}
