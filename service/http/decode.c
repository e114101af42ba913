/* SPDX-License-Identifier: Apache-2.0
 *
 * See decode.h.
 */
#include "service/http/decode.h"

#include "service/http/json-syntax.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* `name` as a reference token: "~" becomes "~0" and "/" becomes "~1". False if it does not fit. */
static bool pointer_token(const char *name, char *token, size_t bytes)
{
    size_t length = 0;
    for (; *name; name++) {
        if (length + 3 > bytes)
            return false;
        bool escaped = *name == '~' || *name == '/';
        token[length++] = escaped ? '~' : *name;
        if (escaped)
            token[length++] = *name == '~' ? '0' : '1';
    }
    token[length] = '\0';
    return true;
}

int decode_point(struct problem *problem, const char *pointer, const char *name)
{
    char token[PROBLEM_POINTER_BYTES / 2];
    if (pointer_token(name, token, sizeof(token)))
        return problem_point(problem, "%s/%s", pointer, token);
    return problem_point(problem, "%s", pointer);
}

struct cJSON *decode_body(char *text, size_t bytes, struct problem *problem)
{
    if (json_syntax_check(text, bytes, &problem->err) != 0)
        return NULL;
    CLEANUP(json)
    struct cJSON *json = cJSON_ParseWithLengthOpts(text, bytes, NULL, false);
    if (!json) {
        err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the request");
        return NULL;
    }
    if (!cJSON_IsObject(json)) {
        err_set(&problem->err, ErrWrongType, 0, "the body must be an object");
        problem_point(problem, "%s", "");
        return NULL;
    }
    return steal(json);
}

static int decode_number(const struct cJSON *json, struct decode_number *number, struct err *err)
{
    double value = json->valuedouble;
    if (!isfinite(value) || value < 0 || value > (double)JSON_INTEGER_MAX)
        return err_set(err, ErrInvalidValue, 0, "field '%s' must be from 0 to 2^53", json->string);
    if (value != floor(value))
        return err_set(err, ErrWrongType, 0, "field '%s' must be a whole number", json->string);
    *number = (struct decode_number){.given = true, .value = (uint64_t)value};
    return 0;
}

static int decode_text(const struct cJSON *json, size_t bytes_max, const char **text,
                       struct err *err)
{
    assert(bytes_max > 0 && bytes_max <= DECODE_TEXT_MAX_BYTES);
    if (strlen(json->valuestring) > bytes_max)
        return err_set(err, ErrInvalidValue, 0, "field '%s' has at most %zu bytes", json->string,
                       bytes_max);
    *text = json->valuestring;
    return 0;
}

static cJSON_bool json_is_object_or_null(const struct cJSON *json)
{
    return cJSON_IsObject(json) || cJSON_IsNull(json);
}

static cJSON_bool json_is_array_or_null(const struct cJSON *json)
{
    return cJSON_IsArray(json) || cJSON_IsNull(json);
}

static int decode_value(const struct cJSON *json, const struct decode_field *field, void *out,
                        struct err *err)
{
    static const struct {
        cJSON_bool (*is)(const struct cJSON *json);
        const char *name;
    } types[] = {
        [DECODE_TEXT] = {cJSON_IsString, "a string"},
        [DECODE_NUMBER] = {cJSON_IsNumber, "a whole number"},
        [DECODE_BOOL] = {cJSON_IsBool, "true or false"},
        [DECODE_OBJECT] = {cJSON_IsObject, "an object"},
        [DECODE_OBJECT_OR_NULL] = {json_is_object_or_null, "an object or null"},
        [DECODE_ARRAY] = {cJSON_IsArray, "an array"},
        [DECODE_ARRAY_OR_NULL] = {json_is_array_or_null, "an array or null"},
    };
    if (!types[field->type].is(json))
        return err_set(err, ErrWrongType, 0, "field '%s' must be %s", json->string,
                       types[field->type].name);
    if (field->type == DECODE_TEXT)
        return decode_text(json, field->bytes_max, out, err);
    if (field->type == DECODE_NUMBER)
        return decode_number(json, out, err);
    if (field->type == DECODE_BOOL)
        *(struct decode_bool *)out = (struct decode_bool){true, cJSON_IsTrue(json)};
    else
        *(const struct cJSON **)out = json;
    return 0;
}

/* Decodes the member `json`; `seen` has a flag for each field. */
static int decode_member(const struct cJSON *json, const struct decode_table *table, bool *seen,
                         void *out, struct err *err)
{
    const struct decode_field *fields = table->fields;
    size_t at = 0;
    while (at < table->count && strcmp(fields[at].name, json->string) != 0)
        at++;
    if (at == table->count)
        return err_set(err, ErrUnknownField, 0, "there is no field '%s' here", json->string);
    if (seen[at])
        return err_set(err, ErrDuplicateField, 0, "field '%s' is given twice", json->string);
    seen[at] = true;
    return decode_value(json, &fields[at], (char *)out + fields[at].offset, err);
}

int decode_object(const struct cJSON *json, const char *pointer, const struct decode_table *table,
                  void *out, struct problem *problem)
{
    bool seen[DECODE_FIELDS_MAX] = {false};
    assert(table->count <= DECODE_FIELDS_MAX);
    if (!cJSON_IsObject(json)) {
        err_set(&problem->err, ErrWrongType, 0, "an object is expected here");
        return problem_point(problem, "%s", pointer);
    }
    const struct cJSON *member;
    cJSON_ArrayForEach(member, json)
    {
        if (decode_member(member, table, seen, out, &problem->err) != 0)
            return decode_point(problem, pointer, member->string);
    }
    for (size_t i = 0; i < table->count; i++)
        if (table->fields[i].required && !seen[i]) {
            const char *name = table->fields[i].name;
            err_set(&problem->err, ErrMissingField, 0, "field '%s' is missing", name);
            return decode_point(problem, pointer, name);
        }
    return 0;
}

static int label_check(const struct cJSON *labels, const struct cJSON *label, struct err *err)
{
    if (!cJSON_IsString(label))
        return err_set(err, ErrWrongType, 0, "label '%s' must be a string", label->string);
    if (strlen(label->string) > LABEL_BYTES_MAX || strlen(label->valuestring) > LABEL_BYTES_MAX)
        return err_set(err, ErrInvalidValue, 0,
                       "label '%s': names and values have at most %d bytes", label->string,
                       LABEL_BYTES_MAX);
    for (const struct cJSON *other = labels->child; other != label; other = other->next)
        if (strcmp(other->string, label->string) == 0)
            return err_set(err, ErrDuplicateField, 0, "label '%s' is given twice", label->string);
    return 0;
}

char *decode_labels(const struct cJSON *json, const char *pointer, struct problem *problem)
{
    if (json && cJSON_GetArraySize(json) > LABELS_MAX) {
        err_set(&problem->err, ErrInvalidValue, 0, "there may be at most %d labels", LABELS_MAX);
        problem_point(problem, "%s", pointer);
        return NULL;
    }
    const struct cJSON *label;
    cJSON_ArrayForEach(label, json)
    {
        if (label_check(json, label, &problem->err) != 0) {
            decode_point(problem, pointer, label->string);
            return NULL;
        }
    }
    char *text = json ? cJSON_PrintUnformatted(json) : strdup("{}");
    if (!text)
        err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the labels");
    return text;
}
