/* SPDX-License-Identifier: Apache-2.0
 *
 * See request.h.
 */
#include "service/http/request.h"

#include "service/http/head.h"
#include "service/names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_value(char digit)
{
    return isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10;
}

/* Percent-decodes `text` in place. */
static int uri_decode(char *text, struct err *err)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        if (!isxdigit((unsigned char)from[1]) || !isxdigit((unsigned char)from[2]))
            return err_set(err, ErrInvalidParameter, 0,
                           "the URI has a '%%' without two hexadecimal digits after it");
        char byte = (char)(hex_value(from[1]) * 16 + hex_value(from[2]));
        if (byte == '\0')
            return err_set(err, ErrInvalidParameter, 0, "the URI contains %%00");
        *to++ = byte;
        from += 2;
    }
    *to = '\0';
    return 0;
}

static int request_parse_path(struct request *request, char *path, struct err *err)
{
    if (*path != '/')
        return err_set(err, ErrNotFound, 0, "there is nothing here; paths begin with '/'");
    for (char *rest = path + 1; rest;) {
        char *segment = strsep(&rest, "/");
        if (request->segment_count == REQUEST_SEGMENTS_MAX)
            return err_set(err, ErrNotFound, 0, "there is nothing here; see /openapi.yaml");
        if (uri_decode(segment, err) != 0)
            return -1;
        request->segments[request->segment_count++] = segment;
    }
    return 0;
}

static int request_parse_query(struct request *request, char *query, struct err *err)
{
    while (query && *query) {
        char *value = strsep(&query, "&");
        char *name = strsep(&value, "=");
        if (request->parameter_count == REQUEST_PARAMETERS_MAX)
            return err_set(err, ErrInvalidParameter, 0, "there are too many query parameters");
        if (!value)
            return err_set(err, ErrInvalidParameter, 0, "query parameter '%s' has no value", name);
        if (uri_decode(name, err) != 0 || uri_decode(value, err) != 0)
            return -1;
        request->parameters[request->parameter_count++] =
            (struct request_parameter){.name = name, .value = value};
    }
    return 0;
}

/* The path of "http://host/path" or "https://host/path", the absolute form (RFC 9112, section
 * 3.2.2). */
static char *uri_without_host(char *uri)
{
    if (strncasecmp(uri, "http://", 7) != 0 && strncasecmp(uri, "https://", 8) != 0)
        return uri;
    char *path = strchr(strstr(uri, "//") + 2, '/');
    return path ? path : uri;
}

int request_parse_uri(struct request *request, struct err *err)
{
    char *query = uri_without_host(request->uri);
    char *path = strsep(&query, "?");
    if (request_parse_path(request, path, err) != 0)
        return -1;
    return request_parse_query(request, query, err);
}

const char *request_header(const struct request *request, const char *name, size_t nth)
{
    return http_head_field(request->head, name, nth);
}

void request_identify(struct request *request)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._:/+=-";
    const char *given = request_header(request, "X-Request-Id", 0);
    bool is_taken = given && *given && strspn(given, allowed) == strlen(given) &&
                    strlen(given) <= REQUEST_ID_CHARS_MAX &&
                    !request_header(request, "X-Request-Id", 1);
    if (is_taken)
        strcpy(request->id, given);
    else
        id_new(request->id);
}

/* Whether a '%' is followed by two hexadecimal digits. */
static bool uri_is_escape(const char *text)
{
    return isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2]);
}

void request_instance(const char *target, char instance[REQUEST_INSTANCE_BYTES])
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~/:@!$&'()*+,;=[]";
    static const char digits[] = "0123456789ABCDEF";
    size_t length = 0;
    if (!target || !*target)
        target = "/";
    for (; *target && *target != '?' && length + 4 <= REQUEST_INSTANCE_BYTES; target++) {
        unsigned char byte = (unsigned char)*target;
        if (strchr(plain, *target) || (*target == '%' && uri_is_escape(target))) {
            instance[length++] = *target;
            continue;
        }
        instance[length++] = '%';
        instance[length++] = digits[byte >> 4];
        instance[length++] = digits[byte & 15];
    }
    instance[length] = '\0';
}

/* What follows the name of a preference in the list, or NULL; values in quotes may hold commas. */
static const char *preferences_find(const char *text, const char *name)
{
    while (*text) {
        text += strspn(text, ", \t");
        size_t length = strcspn(text, ",; \t=");
        if (length == strlen(name) && strncasecmp(text, name, length) == 0)
            return text + length;
        for (bool is_quoted = false; *text && (is_quoted || *text != ','); text++) {
            if (is_quoted && *text == '\\' && text[1])
                text++;
            else if (*text == '"')
                is_quoted = !is_quoted;
        }
    }
    return NULL;
}

/* The first one counts (RFC 7240, section 2). */
static const char *request_preference(const struct request *request, const char *name)
{
    const char *text, *found = NULL;
    for (size_t i = 0; !found && (text = request_header(request, "Prefer", i)); i++)
        found = preferences_find(text, name);
    return found;
}

bool request_prefers_async(const struct request *request)
{
    return request_preference(request, "respond-async") != NULL;
}

bool request_prefers_wait(const struct request *request, unsigned *seconds)
{
    const char *text = request_preference(request, "wait");
    if (!text)
        return false;
    text += strspn(text, " \t");
    if (*text++ != '=')
        return false;
    text += strspn(text, " \t");
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || (text[digits] && !strchr(",; \t", text[digits])))
        return false;
    unsigned long long value = strtoull(text, NULL, 10); /* ULLONG_MAX, if there are many digits */
    *seconds = value < PREFER_WAIT_MAX_S ? (unsigned)value : PREFER_WAIT_MAX_S;
    return true;
}

static bool request_is_encoded(const struct request *request)
{
    const char *coding;
    for (size_t i = 0; (coding = request_header(request, "Content-Encoding", i)); i++)
        if (strcasecmp(coding, "identity") != 0)
            return true;
    return false;
}

bool request_has_type(const struct request *request, const char *type)
{
    size_t length = strlen(type);
    const char *given = request_header(request, "Content-Type", 0);
    if (!given || request_is_encoded(request) || strncasecmp(given, type, length) != 0)
        return false;
    given += length;
    given += strspn(given, " \t");
    return *given == '\0' || *given == ';';
}

const char *request_parameter(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->parameter_count; i++)
        if (strcmp(request->parameters[i].name, name) == 0)
            return request->parameters[i].value;
    return NULL;
}

int request_check_parameters(const struct request *request, const char *const *names,
                             struct err *err)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        const char *given = request->parameters[i].name;
        const char *const *name = names;
        while (name && *name && strcmp(*name, given) != 0)
            name++;
        if (!name || !*name)
            return err_set(err, ErrInvalidParameter, 0, "there is no query parameter '%s' here",
                           given);
        /* Of the parameters of a list, labels alone make sense several times. */
        if (strcmp(given, "label") != 0 &&
            request_parameter(request, given) != request->parameters[i].value)
            return err_set(err, ErrInvalidParameter, 0, "query parameter '%s' is given twice",
                           given);
    }
    return 0;
}

int request_limit(const struct request *request, size_t *limit, struct err *err)
{
    return request_limit_of(request, REQUEST_LIMIT_DEFAULT, REQUEST_LIMIT_MAX, limit, err);
}

int request_limit_of(const struct request *request, size_t fallback, size_t most, size_t *limit,
                     struct err *err)
{
    const char *text = request_parameter(request, "limit");
    *limit = fallback;
    if (!text)
        return 0;
    size_t digits = strspn(text, "0123456789");
    *limit = digits > 0 && digits <= 5 && !text[digits] ? (size_t)atoi(text) : 0;
    if (*limit < 1 || *limit > most)
        return err_set(err, ErrInvalidParameter, 0,
                       "query parameter 'limit' must be a whole number from 1 to %zu", most);
    return 0;
}

int request_flag(const struct request *request, const char *name, bool *flag, struct err *err)
{
    const char *text = request_parameter(request, name);
    *flag = text && strcmp(text, "true") == 0;
    return !text || *flag || strcmp(text, "false") == 0
               ? 0
               : err_set(err, ErrInvalidParameter, 0, "query parameter '%s' must be true or false",
                         name);
}
