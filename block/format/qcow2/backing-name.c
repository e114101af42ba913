/* SPDX-License-Identifier: Apache-2.0
 *
 * The meaning of a backing file's name in a header. Most are plain file names. QEMU also writes,
 * and reads:
 *
 *     file:NAME         NAME
 *     json:{...}        members, nested or with dots, of which these are supported:
 *
 *         "driver": "raw" | "qcow2"        the format; optional
 *         "file": {"driver": "file",       optional
 *                  "filename": "NAME"}     the file
 *         "file.driver", "file.filename"   the same
 *
 * Any other member changes how QEMU reads the file, or names it in another way: it is rejected by
 * name. So this is no JSON parser: objects of strings, two levels deep. A name has at most 1023
 * bytes and comes from a header, so it is hostile; nothing is read past its end.
 *
 * QEMU resolves such a NAME from its working directory. A daemon has none that its user would know
 * of, so it is resolved like every other name (block/image/chain.c).
 */
#include "block/format/qcow2/backing-name.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *at;
    char *format, *protocol, *file; /* heap */
    struct err *err;
};

static int parse_fail(const struct parser *parser, const char *what)
{
    return err_set(parser->err, ErrInvalidBlockFormat, 0,
                   "its backing file's name is json: that cannot be used: %s", what);
}

static void skip_space(struct parser *parser)
{
    parser->at += strspn(parser->at, " \t\n\r");
}

static bool take(struct parser *parser, char c)
{
    skip_space(parser);
    bool is_there = *parser->at == c;
    parser->at += is_there;
    return is_there;
}

/* Parses four hexadecimal digits, a character of the basic plane but no surrogate, into UTF-8 at
 * *out. */
static bool take_unicode(struct parser *parser, char **out)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++, parser->at++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = *parser->at ? strchr(digits, *parser->at | 0x20) : NULL;
        if (!digit)
            return false;
        code = code << 4 | (unsigned)(digit - digits);
    }
    if (code == 0 || (code >= 0xd800 && code < 0xe000))
        return false;
    unsigned char *end = (unsigned char *)*out;
    if (code >= 0x800)
        *end++ = (unsigned char)(0xe0 | code >> 12);
    if (code >= 0x80)
        *end++ = (unsigned char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
    *end++ = (unsigned char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
    *out = (char *)end;
    return true;
}

/* Parses the rest of an escape. */
static bool take_escape(struct parser *parser, char **out)
{
    char c = *parser->at;
    if (c == 'u') {
        parser->at++;
        return take_unicode(parser, out);
    }
    if (c != '"' && c != '\\' && c != '/')
        return false;
    parser->at++;
    *(*out)++ = c;
    return true;
}

/* Parses a string; heap, never longer than its source. */
static int take_string(struct parser *parser, char **string)
{
    if (!take(parser, '"'))
        return parse_fail(parser, "a string is missing");
    CLEANUP_FREE char *text = malloc(strlen(parser->at) + 1);
    if (!text)
        return err_set(parser->err, ErrOutOfResources, ENOMEM, "its backing file's name");
    char *end = text;
    while (*parser->at != '"') {
        unsigned char c = (unsigned char)*parser->at;
        if (c < ' ')
            return parse_fail(parser, "a string does not end");
        parser->at++;
        if (c != '\\')
            *end++ = (char)c;
        else if (!take_escape(parser, &end))
            return parse_fail(parser, "a string has an escape that is not known");
    }
    parser->at++;
    *end = 0;
    *string = steal(text);
    return 0;
}

/* The field for the value of member `key`, or NULL. */
static char **member_place(struct parser *parser, const char *key)
{
    if (strcmp(key, "driver") == 0)
        return &parser->format;
    if (strcmp(key, "file.driver") == 0)
        return &parser->protocol;
    return strcmp(key, "file.filename") == 0 ? &parser->file : NULL;
}

static int take_members(struct parser *parser, const char *prefix);

static int take_member(struct parser *parser, const char *prefix)
{
    CLEANUP_FREE char *name = NULL;
    CLEANUP_FREE char *key = NULL;
    if (take_string(parser, &name) != 0)
        return -1;
    if (asprintf(&key, "%s%s", prefix, name) < 0) {
        key = NULL;
        return err_set(parser->err, ErrOutOfResources, ENOMEM, "its backing file's name");
    }
    if (!take(parser, ':'))
        return parse_fail(parser, "a member has no value");
    skip_space(parser);
    if (strcmp(key, "file") == 0 && *parser->at == '{')
        return take_members(parser, "file.");
    char **place = member_place(parser, key), why[128];
    if (!place || *place || *parser->at != '"') {
        snprintf(why, sizeof(why), "member '%.64s' %s", key,
                 !place   ? "is not supported"
                 : *place ? "is there twice"
                          : "is not a string");
        return parse_fail(parser, why);
    }
    return take_string(parser, place);
}

static int take_members(struct parser *parser, const char *prefix)
{
    if (!take(parser, '{'))
        return parse_fail(parser, "it is no object");
    if (take(parser, '}'))
        return 0;
    do
        if (take_member(parser, prefix) != 0)
            return -1;
    while (take(parser, ','));
    return take(parser, '}') ? 0 : parse_fail(parser, "an object does not end");
}

static int json_parse(struct parser *parser)
{
    if (take_members(parser, "") != 0)
        return -1;
    skip_space(parser);
    if (*parser->at)
        return parse_fail(parser, "something follows the object");
    if (!parser->file || !*parser->file)
        return parse_fail(parser, "member 'file.filename' is missing");
    if (parser->protocol && strcmp(parser->protocol, "file") != 0)
        return parse_fail(parser, "member 'file.driver' is not \"file\"");
    return 0;
}

static int plain_name(const char *words, char **name, struct err *err)
{
    *name = strdup(words);
    return *name ? 0 : err_set(err, ErrOutOfResources, ENOMEM, "its backing file's name");
}

int qcow2_backing_name(const char *words, char **name, char **format, struct err *err)
{
    if (strncmp(words, "file:", 5) == 0 && words[5])
        return plain_name(words + 5, name, err);
    if (strncmp(words, "json:", 5) != 0)
        return plain_name(words, name, err);
    struct parser parser = {.at = words + 5, .err = err};
    int ret = json_parse(&parser);
    if (ret == 0) {
        *name = steal(parser.file);
        if (parser.format)
            *format = steal(parser.format);
    }
    free(parser.format);
    free(parser.protocol);
    free(parser.file);
    return ret;
}
