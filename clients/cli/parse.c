/* SPDX-License-Identifier: Apache-2.0
 *
 * See parse.h. Options may stand anywhere, also before the command; "--" ends them. An option
 * with a letter may have its value behind it (-ojson), and stands alone (-n 5, never -fn5).
 */
#include "clients/cli/parse.h"

#include "base/cleanup.h"

#include <string.h>

enum option option_find(const struct option_row *rows, const char *text)
{
    size_t length = strcspn(text, "=");
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strncmp(text, "--", 2) == 0 && strlen(rows[i].name) == length - 2 &&
            strncmp(text + 2, rows[i].name, length - 2) == 0)
            return (enum option)i;
        if (text[0] == '-' && rows[i].letter && text[1] == rows[i].letter)
            return (enum option)i;
    }
    return OPTION_COUNT;
}

bool command_takes(const struct command *command, enum option option)
{
    return option <= OPTION_VERSION || (command && command->options & OPTION_BIT(option));
}

/* How many of `words` are those of the command; 0: it is another one. */
static size_t words_match(const struct command *command, char **words, size_t count)
{
    const char *at = command->words;
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(at, " ");
        if (strlen(words[i]) != length || strncmp(words[i], at, length) != 0)
            return 0;
        at += length;
        if (!*at)
            return i + 1;
        at++;
    }
    return 0;
}

const struct command *command_find(const struct call *call, char **words, size_t count,
                                   size_t *used)
{
    for (size_t i = 0; i < call->command_count; i++) {
        *used = words_match(&call->commands[i], words, count);
        if (*used)
            return &call->commands[i];
    }
    return NULL;
}

/* The value that an option has in its own word, or NULL. */
static const char *value_inside(const char *text)
{
    const char *equals = strchr(text, '=');
    if (strncmp(text, "--", 2) == 0)
        return equals ? equals + 1 : NULL;
    return text[2] ? text + 2 : NULL;
}

/* Takes the option at argv[*i], and its value. */
static int option_take(struct call *call, int argc, char **argv, int *i)
{
    const char *text = argv[*i], *inside = value_inside(text);
    enum option option = option_find(call->option_rows, text);
    if (option == OPTION_COUNT)
        return fail(&call->failure, EXIT_USAGE, "there is no option '%s'", text);
    const struct option_row *row = &call->option_rows[option];
    if (!row->value && inside)
        return fail(&call->failure, EXIT_USAGE, "--%s takes no value", row->name);
    if (row->value && !inside && *i + 1 == argc)
        return fail(&call->failure, EXIT_USAGE, "--%s lacks its value, %s", row->name, row->value);
    if (!row->is_repeated && call_has(call, option))
        return fail(&call->failure, EXIT_USAGE, "--%s is given twice", row->name);
    const char *value = !row->value ? "" : inside ? inside : argv[++*i];
    call->uses[call->use_count++] = (struct option_use){option, value};
    return 0;
}

static int words_take(struct call *call, int argc, char **argv)
{
    bool has_ended = false;
    for (int i = 1; i < argc; i++) {
        if (!has_ended && strcmp(argv[i], "--") == 0)
            has_ended = true;
        else if (has_ended || argv[i][0] != '-' || !argv[i][1])
            call->arguments[call->argument_count++] = argv[i];
        else if (option_take(call, argc, argv, &i) != 0)
            return -1;
    }
    return 0;
}

static int options_check(struct call *call)
{
    const struct command *command = call->command;
    uint64_t given = 0;
    for (size_t i = 0; i < call->use_count; i++) {
        enum option option = call->uses[i].option;
        if (!command_takes(command, option))
            return fail(&call->failure, EXIT_USAGE, "'%s' takes no --%s", command->words,
                        call->option_rows[option].name);
        given |= OPTION_BIT(option);
    }
    for (int i = 0; i < OPTION_COUNT; i++)
        if (command->needed & ~given & OPTION_BIT(i))
            return fail(&call->failure, EXIT_USAGE, "'%s' needs --%s %s", command->words,
                        call->option_rows[i].name, call->option_rows[i].value);
    return 0;
}

static int arguments_check(struct call *call)
{
    const struct argument_row *rows = call->command->arguments;
    size_t most = 0;
    for (size_t i = 0; i < ARGUMENTS_MAX && rows[i].name; i++) {
        most = rows[i].is_repeated ? SIZE_MAX : i + 1;
        if (!rows[i].is_optional && i >= call->argument_count)
            return fail(&call->failure, EXIT_USAGE, "'%s' lacks %s", call->command->words,
                        rows[i].name);
        if (i < call->argument_count && !*call->arguments[i] && !call->command->is_hidden)
            return fail(&call->failure, EXIT_USAGE, "%s is empty", rows[i].name);
    }
    if (call->argument_count > most)
        return fail(&call->failure, EXIT_USAGE, "'%s' takes no '%s'", call->command->words,
                    call->arguments[most]);
    return 0;
}

/* Whether the words lead towards a command: "device". */
static bool is_prefix(const struct call *call, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i < call->command_count; i++)
        if (strncmp(call->commands[i].words, word, length) == 0 &&
            call->commands[i].words[length] == ' ')
            return true;
    return false;
}

static int command_take(struct call *call)
{
    size_t used = 0;
    call->command = command_find(call, call->arguments, call->argument_count, &used);
    bool wants_text = call_has(call, OPTION_HELP) || call_has(call, OPTION_VERSION);
    if (!call->command && wants_text && call->argument_count <= 1)
        return 0;
    if (!call->command && call->argument_count == 0)
        return fail(&call->failure, EXIT_USAGE, "a command is missing");
    if (!call->command && call->argument_count > 1 && is_prefix(call, call->arguments[0]))
        return fail(&call->failure, EXIT_USAGE, "there is no command '%s %s'", call->arguments[0],
                    call->arguments[1]);
    if (!call->command)
        return fail(&call->failure, EXIT_USAGE, "there is no command '%s'", call->arguments[0]);
    call->arguments += used;
    call->argument_count -= used;
    return wants_text ? 0 : options_check(call) != 0 ? -1 : arguments_check(call);
}

int call_parse(struct call *call, int argc, char **argv)
{
    call->uses = calloc((size_t)argc + 2 * OPTION_COUNT, sizeof(*call->uses));
    call->arguments = call->argument_list = calloc((size_t)argc + 1, sizeof(*call->arguments));
    if (!call->uses || !call->arguments)
        return fail_memory(&call->failure);
    return words_take(call, argc, argv) != 0 ? -1 : command_take(call);
}

void call_release(struct call *call)
{
    free(call->uses);
    free(call->argument_list);
    free(call->failure.problem);
    for (size_t i = 0; i < call->text_count; i++)
        free(call->texts[i]);
    free(call->texts);
}
