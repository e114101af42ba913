/* SPDX-License-Identifier: Apache-2.0
 *
 * See settings.h. An empty variable counts as unset. An unknown variable is ignored, an unknown
 * name in the file is an error: it is ours alone.
 */
#include "clients/cli/settings.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#define SECTION "snapgroupctl"

/* Whether `option`, or one that answers the same question, is among the first `count` uses. */
static bool is_answered(const struct call *call, size_t count, enum option option)
{
    static const enum option pairs[][2] = {{OPTION_SOCKET, OPTION_URL},
                                           {OPTION_TOKEN, OPTION_TOKEN_FILE}};
    for (size_t i = 0; i < count; i++) {
        enum option used = call->uses[i].option;
        if (used == option)
            return true;
        for (size_t p = 0; p < 2; p++)
            if ((used == pairs[p][0] || used == pairs[p][1]) &&
                (option == pairs[p][0] || option == pairs[p][1]))
                return true;
    }
    return false;
}

/* Both of a pair, from one place. */
static int pairs_check(struct call *call)
{
    bool has_both = call_has(call, OPTION_SOCKET) && call_has(call, OPTION_URL);
    if (has_both || (call_has(call, OPTION_TOKEN) && call_has(call, OPTION_TOKEN_FILE)))
        return fail(&call->failure, EXIT_USAGE, "--%s and --%s exclude each other",
                    has_both ? "socket" : "token", has_both ? "url" : "token-file");
    return 0;
}

static int environment_read(struct call *call)
{
    size_t before = call->use_count;
    for (int i = 0; i < OPTION_COUNT; i++) {
        char name[64];
        snprintf(name, sizeof(name), "SNAPGROUPCTL_%s", call->option_rows[i].name);
        for (char *c = name; *c; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *value = getenv(name);
        if (value && *value && call->option_rows[i].is_setting &&
            !is_answered(call, before, (enum option)i))
            call->uses[call->use_count++] = (struct option_use){(enum option)i, value};
    }
    return pairs_check(call);
}

struct file_reading {
    struct call *call;
    const char *path;
    FILE *stream;
    size_t before; /* uses of command line and environment */
};

/* As fgets(), for libinih, which would take the rest of a long line for another one. */
static char *line_read(char *line, int size, void *context)
{
    struct file_reading *reading = context;
    char *read = reading->call->failure.status ? NULL : fgets(line, size, reading->stream);
    if (read && !strchr(line, '\n') && !feof(reading->stream))
        fail(&reading->call->failure, EXIT_USAGE, "%s: a line is longer than %d bytes",
             reading->path, size - 2);
    return read;
}

/* Keeps a copy of `value` for as long as the call. */
static const char *text_keep(struct call *call, const char *value)
{
    char **texts = realloc(call->texts, (call->text_count + 1) * sizeof(*texts));
    if (!texts)
        return NULL;
    call->texts = texts;
    texts[call->text_count] = strdup(value);
    return texts[call->text_count] ? texts[call->text_count++] : NULL;
}

/* The option that is a setting of this name; OPTION_COUNT if there is none. */
static enum option setting_find(const struct call *call, const char *name)
{
    int i = 0;
    while (i < OPTION_COUNT &&
           !(call->option_rows[i].is_setting && strcmp(call->option_rows[i].name, name) == 0))
        i++;
    return (enum option)i;
}

/* For libinih: 0 is an error. */
static int setting_take(void *context, const char *section, const char *name, const char *value)
{
    struct file_reading *reading = context;
    struct call *call = reading->call;
    if (call->failure.status)
        return 0;
    const enum option option = setting_find(call, name);
    if (strcmp(section, SECTION) != 0 || option == OPTION_COUNT) {
        fail(&call->failure, EXIT_USAGE, "%s: there is no setting '%s' in section [%s]",
             reading->path, name, section);
        return 0;
    }
    if (is_answered(call, reading->before, option))
        return 1;
    for (size_t u = reading->before; u < call->use_count; u++)
        if (call->uses[u].option == option) {
            fail(&call->failure, EXIT_USAGE, "%s: '%s' is set twice", reading->path, name);
            return 0;
        }
    const char *kept = text_keep(call, value);
    if (!kept)
        fail_memory(&call->failure);
    else
        call->uses[call->use_count++] = (struct option_use){option, kept};
    return kept != NULL;
}

static int file_parse(struct call *call, const char *path, bool must_exist)
{
    FILE *stream = fopen(path, "re");
    if (!stream && !must_exist && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return 0;
    if (!stream)
        return fail(&call->failure, EXIT_USAGE, "cannot open '%s': %s", path, strerror(errno));
    struct file_reading reading = {
        .call = call, .path = path, .stream = stream, .before = call->use_count};
    int wrong = ini_parse_stream(line_read, &reading, setting_take, &reading);
    fclose(stream);
    if (wrong == 0 && call->failure.status == EXIT_DONE)
        return pairs_check(call);
    if (call->failure.status == EXIT_DONE)
        fail(&call->failure, EXIT_USAGE, "%s:%d: this is neither [section] nor NAME = VALUE", path,
             wrong);
    return -1;
}

int settings_read(struct call *call)
{
    if (pairs_check(call) != 0 || environment_read(call) != 0)
        return -1;
    const char *given = call_option(call, OPTION_CONFIG), *home = getenv("HOME");
    if (given)
        return file_parse(call, given, true);
    if (!home || !*home)
        return 0;
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/.config/snapgroupctl.conf", home) < 0)
        return fail_memory(&call->failure);
    return file_parse(call, path, false);
}
