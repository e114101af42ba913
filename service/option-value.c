/* SPDX-License-Identifier: Apache-2.0
 *
 * See option-value.h.
 */
#include "service/option-value.h"

#include "service/utf8.h"
#include "store/tokens.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int value_wrong(const char *source, const char *text, const char *why, struct err *err)
{
    return err_set(err, ErrInvalidParameter, 0, "%s: '%s' is %s", source, text, why);
}

static int take_address(struct option_addresses *addresses, const char *source, const char *text,
                        struct err *err)
{
    if (addresses->count == OPTIONS_ADDRESSES_MAX)
        return err_set(err, ErrInvalidParameter, 0, "%s: at most %d addresses", source,
                       OPTIONS_ADDRESSES_MAX);
    addresses->list[addresses->count++] = text;
    return 0;
}

/* The id of the group `name`. */
static int group_find(const char *name, gid_t *gid, const char *source, struct err *err)
{
    struct group group, *found = NULL;
    char texts[16384];
    if (getgrnam_r(name, &group, texts, sizeof(texts), &found) != 0 || !found)
        return value_wrong(source, name, "no group of this machine", err);
    *gid = found->gr_gid;
    return 0;
}

static int take_group(struct option_groups *groups, const char *source, const char *text,
                      struct err *err)
{
    char name[256];
    size_t length = strcspn(text, "=");
    struct option_group group = {.scope = SCOPE_ADMIN};
    snprintf(name, sizeof(name), "%.*s", (int)length, text);
    if (groups->count == OPTIONS_GROUPS_MAX)
        return err_set(err, ErrInvalidParameter, 0, "%s: at most %d groups", source,
                       OPTIONS_GROUPS_MAX);
    if (text[length])
        group.scope = scope_from_name(text + length + 1);
    if (group.scope == SCOPE_NONE)
        return value_wrong(source, text, "not GROUP, GROUP=read, GROUP=snapshot or GROUP=admin",
                           err);
    if (group_find(name, &group.gid, source, err) != 0)
        return -1;
    groups->list[groups->count++] = group;
    return 0;
}

static int take_bytes(uint64_t *bytes, const char *source, const char *text, struct err *err)
{
    static const char suffixes[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (errno || *text < '0' || *text > '9' || (*end && (!suffix || end[1])) ||
        value > UINT64_MAX >> 8 >> shift)
        return value_wrong(source, text, "no size: a number, and K, M, G or T", err);
    *bytes = (uint64_t)value << shift;
    return 0;
}

static int take_seconds(uint64_t *seconds, const char *source, const char *text, struct err *err)
{
    char *end;
    errno = 0;
    *seconds = strtoull(text, &end, 10);
    if (!errno && *text >= '0' && *text <= '9' && !*end && *seconds >= OPTION_SECONDS_MIN &&
        *seconds <= OPTION_SECONDS_MAX)
        return 0;
    return err_set(err, ErrInvalidParameter, 0, "%s: '%s' is no number of seconds from %d to %d",
                   source, text, OPTION_SECONDS_MIN, OPTION_SECONDS_MAX);
}

static int take_choice(unsigned *value, const char *words, const char *source, const char *text,
                       struct err *err)
{
    const char *word = words;
    for (unsigned i = 0; *word; i++) {
        size_t length = strcspn(word, "|");
        if (strlen(text) == length && strncmp(text, word, length) == 0) {
            *value = i;
            return 0;
        }
        word += length + (word[length] == '|');
    }
    return err_set(err, ErrInvalidParameter, 0, "%s: '%s' is not one of %s", source, text, words);
}

static int take_flag(bool *flag, const char *source, const char *text, struct err *err)
{
    if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return value_wrong(source, text, "neither 1 nor 0", err);
    *flag = *text == '1';
    return 0;
}

static bool text_equals(const char *text, const char *other)
{
    return text && other ? strcmp(text, other) == 0 : text == other;
}

static bool addresses_equal(const struct option_addresses *addresses,
                            const struct option_addresses *other)
{
    for (size_t i = 0; i < addresses->count && i < other->count; i++)
        if (!text_equals(addresses->list[i], other->list[i]))
            return false;
    return addresses->count == other->count;
}

static bool groups_equal(const struct option_groups *groups, const struct option_groups *other)
{
    for (size_t i = 0; i < groups->count && i < other->count; i++)
        if (groups->list[i].gid != other->list[i].gid ||
            groups->list[i].scope != other->list[i].scope)
            return false;
    return groups->count == other->count;
}

bool option_value_equals(enum option_kind kind, const void *value, const void *other)
{
    switch (kind) {
    case OPTION_TEXT:
    case OPTION_CONFIG:
        return text_equals(*(const char *const *)value, *(const char *const *)other);
    case OPTION_ADDRESS:
        return addresses_equal(value, other);
    case OPTION_GROUP:
        return groups_equal(value, other);
    case OPTION_BYTES:
    case OPTION_SECONDS:
        return *(const uint64_t *)value == *(const uint64_t *)other;
    case OPTION_CHOICE:
        return *(const unsigned *)value == *(const unsigned *)other;
    case OPTION_FLAG:
    case OPTION_COMMAND:
        return *(const bool *)value == *(const bool *)other;
    }
    assert(false);
    return false;
}

int option_value_take(void *value, enum option_kind kind, const char *words, const char *source,
                      const char *text, struct err *err)
{
    if (!*text || !utf8_is_valid(text))
        return err_set(err, ErrInvalidParameter, 0, "%s: the value is empty or not UTF-8", source);
    switch (kind) {
    case OPTION_TEXT:
    case OPTION_CONFIG:
        *(const char **)value = text;
        return 0;
    case OPTION_ADDRESS:
        return take_address(value, source, text, err);
    case OPTION_GROUP:
        return take_group(value, source, text, err);
    case OPTION_BYTES:
        return take_bytes(value, source, text, err);
    case OPTION_SECONDS:
        return take_seconds(value, source, text, err);
    case OPTION_CHOICE:
        return take_choice(value, words, source, text, err);
    case OPTION_FLAG:
    case OPTION_COMMAND:
        return take_flag(value, source, text, err);
    }
    assert(false);
    return err_set(err, ErrInternalError, 0, "%s: unknown kind", source);
}
