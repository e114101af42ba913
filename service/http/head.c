/* SPDX-License-Identifier: Apache-2.0
 *
 * See head.h. Checks line by line, so that a fault is answered at once.
 */
#include "service/http/head.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Section 5.6.2 of RFC 9110. */
static const char token_chars[] = "!#$%&'*+-.^_`|~0123456789"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The characters of "uri-host [ ":" port ]" (RFC 3986, section 3.2). */
static const char host_chars[] = "-._~%!$&'()*+,;=:[]0123456789"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#define LENGTH_DIGITS_MAX 18 /* leading zeros apart; more are larger than any body */

static int head_wrong(struct err *err, const char *what)
{
    return err_set(err, ErrMalformedRequest, 0, "%s", what);
}

/* ---- the request line ---- */

static int target_check(const char *target, struct err *err)
{
    if (!*target)
        return head_wrong(err, "the request line has no target");
    if (strlen(target) > HTTP_TARGET_MAX_BYTES)
        return err_set(err, ErrURITooLong, 0, "the request's target has at most %d bytes",
                       HTTP_TARGET_MAX_BYTES);
    for (const char *at = target; *at; at++)
        if (*at <= ' ' || *at >= 0x7f || *at == '#')
            return head_wrong(err, "the request's target has a byte that must be percent-encoded");
    return 0;
}

static int version_parse(struct http_head *head, const char *version, struct err *err)
{
    if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 ||
        !isdigit((unsigned char)version[5]) || version[6] != '.' ||
        !isdigit((unsigned char)version[7]))
        return head_wrong(err, "the request line is not 'METHOD TARGET HTTP/1.1'");
    if (version[5] != '1')
        return err_set(err, ErrVersionNotSupported, 0, "%s is not supported; use HTTP/1.1",
                       version);
    head->has_minor_0 = version[7] == '0';
    head->is_last = head->has_minor_0;
    return 0;
}

static int request_line_parse(struct http_head *head, char *line, struct err *err)
{
    char *rest = line;
    head->method = strsep(&rest, " ");
    head->target = rest ? strsep(&rest, " ") : NULL;
    if (!*head->method || head->method[strspn(head->method, token_chars)] || !rest)
        return head_wrong(err, "the request line is not 'METHOD TARGET HTTP/1.1'");
    if (version_parse(head, rest, err) != 0)
        return -1;
    return target_check(head->target, err);
}

/* ---- fields ---- */

int http_field_parse(char *line, char **value, struct err *err)
{
    size_t name_length = strspn(line, token_chars);
    if (name_length == 0 || line[name_length] != ':')
        return head_wrong(err, "a header field is not 'NAME: VALUE' on one line");
    line[name_length] = '\0';
    *value = line + name_length + 1;
    for (const unsigned char *at = (const unsigned char *)*value; *at; at++)
        if ((*at < ' ' && *at != '\t') || *at == 0x7f)
            return head_wrong(err, "a header field has a control character");
    *value += strspn(*value, " \t");
    size_t length = strlen(*value);
    while (length > 0 && ((*value)[length - 1] == ' ' || (*value)[length - 1] == '\t'))
        (*value)[--length] = '\0';
    return 0;
}

const char *http_head_field(const struct http_head *head, const char *name, size_t nth)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (strcasecmp(head->fields[i].name, name) == 0 && nth-- == 0)
            return head->fields[i].value;
    return NULL;
}

static int length_parse(struct http_head *head, const char *value, struct err *err)
{
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || value[digits])
        return head_wrong(err, "Content-Length is not a number");
    value += strspn(value, "0");
    head->length = strlen(value) > LENGTH_DIGITS_MAX ? UINT64_MAX : strtoull(value, NULL, 10);
    return 0;
}

static int host_parse(struct http_head *head, const char *value, struct err *err)
{
    if (value[strspn(value, host_chars)])
        return head_wrong(err, "the header field Host is not a host's name");
    head->host = value;
    return 0;
}

/* Whether the comma-separated list has the option. */
static bool list_has(const char *list, const char *option)
{
    size_t length = strlen(option);
    while (*list) {
        list += strspn(list, " \t,");
        size_t item = strcspn(list, " \t,");
        if (item == length && strncasecmp(list, option, length) == 0)
            return true;
        list += item;
    }
    return false;
}

/* Rejects a second field of those that two programs could read differently. */
static int field_check_once(const struct http_head *head, const char *name, struct err *err)
{
    static const char *const names[] = {"Host", "Content-Length", "Transfer-Encoding",
                                        "Content-Type"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(name, names[i]) == 0 && http_head_field(head, name, 0))
            return err_set(err, ErrMalformedRequest, 0, "the header field %s is given twice", name);
    return 0;
}

static int field_parse(struct http_head *head, const char *name, const char *value, struct err *err)
{
    if (strcasecmp(name, "Host") == 0)
        return host_parse(head, value, err);
    if (strcasecmp(name, "Content-Length") == 0)
        return length_parse(head, value, err);
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        head->is_chunked = true;
        return strcasecmp(value, "chunked") == 0
                   ? 0
                   : head_wrong(err, "the only transfer coding accepted is 'chunked'");
    }
    if (strcasecmp(name, "Expect") == 0 && strcasecmp(value, "100-continue") == 0)
        head->wants_continue = true;
    if (strcasecmp(name, "Connection") == 0 && list_has(value, "close"))
        head->is_last = true;
    return 0;
}

static int field_take(struct http_head *head, char *line, struct err *err)
{
    char *value;
    if (head->field_count == HTTP_FIELDS_MAX)
        return err_set(err, ErrHeadersTooLarge, 0, "a request has at most %d header fields",
                       HTTP_FIELDS_MAX);
    if (http_field_parse(line, &value, err) != 0 || field_check_once(head, line, err) != 0)
        return -1;
    head->fields[head->field_count++] = (struct http_field){line, value};
    return field_parse(head, line, value, err);
}

/* ---- heads ---- */

/* Checks of the fields together. */
static int head_check(const struct http_head *head, struct err *err)
{
    if (!head->host && !head->has_minor_0)
        return head_wrong(err, "the header field Host is missing");
    if (head->is_chunked && http_head_field(head, "Content-Length", 0))
        return head_wrong(err, "Content-Length and Transfer-Encoding are both given");
    if (head->is_chunked && head->has_minor_0)
        return head_wrong(err, "HTTP/1.0 has no Transfer-Encoding");
    return 0;
}

/* Translates the error of a line that could not be received. */
static int line_error(const struct http_head *head, int error, struct err *err)
{
    if (error == -ETIMEDOUT)
        return err_set(err, ErrRequestTimeout, 0, "the request's head did not arrive in time");
    if (error == -EBADMSG)
        return head_wrong(err, "a line of the head does not end in CR LF, or contains a zero");
    if (error == -EMSGSIZE && !head->method)
        return err_set(err, ErrURITooLong, 0, "the request line has at most %d bytes",
                       HTTP_HEAD_MAX_BYTES);
    if (error == -EMSGSIZE)
        return err_set(err, ErrHeadersTooLarge, 0, "the request's head has at most %d bytes",
                       HTTP_HEAD_MAX_BYTES);
    return 0; /* the client has gone */
}

int http_head_receive(struct http_head *head, struct http_stream *stream, struct err *err)
{
    memset(head, 0, offsetof(struct http_head, fields));
    for (bool is_first = true;; is_first = false) {
        char *line = head->text + head->used;
        ssize_t length = http_stream_line(stream, line, sizeof(head->text) - head->used);
        if (length < 0)
            return line_error(head, (int)length, err);
        if (length == 0 && head->method)
            return head_check(head, err) == 0 ? 1 : -1;
        if (length == 0 && is_first)
            continue;
        head->used += (size_t)length + 1;
        assert(head->used <= sizeof(head->text)); /* H1 */
        if ((head->method ? field_take(head, line, err) : request_line_parse(head, line, err)) != 0)
            return -1;
    }
}
