/* SPDX-License-Identifier: Apache-2.0
 *
 * See condition.h.
 */
#include "service/http/condition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- tags ---- */

#define HASH_DIGITS 16

/* A hash for telling texts apart, not against anybody who wants two to have the same. */
static uint64_t text_hash(const char *text, size_t bytes)
{
    uint64_t hash = bytes * 0x9e3779b97f4a7c15u, word;
    for (; bytes > 0; text += sizeof(word)) {
        size_t part = bytes < sizeof(word) ? bytes : sizeof(word);
        word = 0;
        memcpy(&word, text, part);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
        bytes -= part;
    }
    return hash;
}

/* `prefix`: the version and "-", or ""; `shown`: what a GET replies with. */
static void reply_add_tag(struct reply *reply, const char *prefix, const char *shown, size_t bytes)
{
    snprintf(reply->tag, sizeof(reply->tag), "%s%016" PRIx64, prefix, text_hash(shown, bytes));
    reply_header_add(reply, "ETag", "\"%s\"", reply->tag);
}

static bool reply_is_shown(const struct reply *reply)
{
    return reply->status == 200 || reply->status == 201;
}

void reply_tag(struct reply *reply)
{
    const char *body = reply->body ? reply->body : reply->static_body;
    if (reply_is_shown(reply))
        reply_add_tag(reply, "", body, reply->body_bytes);
}

void reply_tag_row(struct reply *reply, const char *id, uint64_t revision, const char *shown)
{
    char prefix[VERSION_BYTES + 1];
    version_format(id, revision, prefix);
    strcat(prefix, "-");
    if (reply_is_shown(reply))
        reply_add_tag(reply, prefix, shown, strlen(shown));
}

void reply_tagged(struct reply *reply, struct cJSON *json, const char *id, uint64_t revision)
{
    reply_json(reply, 200, json);
    reply_tag_row(reply, id, revision, reply->body);
}

/* ---- lists of tags ---- */

struct tag {
    const char *text; /* between the quotes */
    size_t length;
    bool is_weak, is_any;
};

/* Takes the next tag of a list. False: there is none, or it is malformed. */
static bool tag_next(const char **at, struct tag *tag)
{
    *tag = (struct tag){0};
    *at += strspn(*at, " \t,");
    if (**at == '*') {
        tag->is_any = true;
        *at += 1;
        return true;
    }
    if (strncmp(*at, "W/", 2) == 0) {
        tag->is_weak = true;
        *at += 2;
    }
    if (**at != '"')
        return false;
    tag->text = *at + 1;
    tag->length = strcspn(tag->text, "\"");
    *at = tag->text + tag->length;
    if (**at != '"')
        return false;
    *at += 1 + strspn(*at + 1, " \t");
    if (**at != ',')
        *at += strlen(*at);
    return true;
}

/* Whether the tag is `text`, or, if `is_version`, that version with any hash. */
static bool tag_is(const struct tag *tag, const char *text, bool is_version)
{
    size_t length = tag->length;
    if (tag->is_any)
        return true;
    if (is_version && (length <= HASH_DIGITS || tag->text[length - HASH_DIGITS - 1] != '-'))
        return false;
    if (is_version)
        length -= HASH_DIGITS + 1;
    return length == strlen(text) && memcmp(tag->text, text, length) == 0;
}

/* Whether a tag of the list in the header fields `name` is `text`; weak tags count if `is_weak`. */
static bool tags_have(const struct request *request, const char *name, const char *text,
                      bool is_version, bool is_weak)
{
    const char *at;
    struct tag tag;
    for (size_t i = 0; (at = request_header(request, name, i)); i++)
        while (tag_next(&at, &tag))
            if ((is_weak || !tag.is_weak) && tag_is(&tag, text, is_version))
                return true;
    return false;
}

/* ---- conditions ---- */

static bool request_allows(const void *context, const char *version)
{
    const struct request *request = context;
    if (request_header(request, "If-Match", 0) &&
        !tags_have(request, "If-Match", version, true, false))
        return false;
    return !request_header(request, "If-None-Match", 0) ||
           !tags_have(request, "If-None-Match", version, true, true);
}

const struct condition *request_condition(const struct request *request,
                                          struct condition *condition)
{
    *condition = (struct condition){.context = request, .allows = request_allows};
    bool is_given = request_header(request, "If-Match", 0) != NULL ||
                    request_header(request, "If-None-Match", 0) != NULL;
    return is_given ? condition : NULL;
}

void reply_condition(struct reply *reply, const struct request *request)
{
    bool is_read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    if (!is_read || reply->status != 200 || !*reply->tag)
        return;
    if (request_header(request, "If-Match", 0) &&
        !tags_have(request, "If-Match", reply->tag, false, false)) {
        struct err err;
        err_set(&err, ErrPreconditionFailed, 0, "it has not the tag that If-Match names");
        reply_error(reply, &err);
    } else if (tags_have(request, "If-None-Match", reply->tag, false, true)) {
        reply_not_modified(reply);
    }
}
