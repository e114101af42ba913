/* SPDX-License-Identifier: Apache-2.0
 *
 * See help.h.
 */
#include "clients/cli/help.h"

#include "clients/cli/parse.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN = 30 };

void help_arguments_print(const struct command *command)
{
    for (size_t i = 0; i < ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const struct argument_row *row = &command->arguments[i];
        printf(row->is_optional ? " [%s]%s" : " %s%s", row->name, row->is_repeated ? "..." : "");
    }
}

static void option_print(const struct option_row *row)
{
    int used = row->letter ? printf("  -%c, ", row->letter) : printf("      ");
    used += printf("--%s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
    if (used + 2 > COLUMN)
        used = printf("\n") - 1;
    printf("%*s%s\n", COLUMN - used, "", row->help);
}

static void options_print(const struct call *call, bool is_of_all)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (is_of_all == (i <= OPTION_VERSION) && command_takes(call->command, (enum option)i))
            option_print(&call->option_rows[i]);
}

static void command_help(const struct call *call)
{
    const struct command *command = call->command;
    printf("Usage: snapgroupctl %s", command->words);
    help_arguments_print(command);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (command->needed & OPTION_BIT(i))
            printf(" --%s %s", call->option_rows[i].name, call->option_rows[i].value);
    printf(" [OPTION]...\n\n%s.\n", command->summary);
    if (command->details)
        printf("\n%s\n", command->details);
    if (command->options) {
        puts("\nOptions:");
        options_print(call, false);
    }
    puts("\nOptions of every command:");
    options_print(call, true);
}

void help_print(const struct call *call)
{
    const char *word = call_argument(call, 0);
    if (call->command) {
        command_help(call);
        return;
    }
    puts("Usage: snapgroupctl COMMAND [ARGUMENT]... [OPTION]...\n\n"
         "Manages the disks and group snapshots of snapgroupd.\n\nCommands:");
    for (size_t i = 0; i < call->command_count; i++) {
        const struct command *command = &call->commands[i];
        if (command->is_hidden || (word && strncmp(command->words, word, strlen(word)) != 0))
            continue;
        int used = printf("  %s", command->words);
        printf("%*s%s\n", used + 2 > COLUMN ? 1 : COLUMN - used, "", command->summary);
    }
    puts("\nOptions of every command:");
    options_print(call, true);
    puts("\n`snapgroupctl COMMAND --help` says more. Each setting --some-name VALUE is\n"
         "SNAPGROUPCTL_SOME_NAME=VALUE in the environment and some-name = VALUE in section\n"
         "[snapgroupctl] of the file. Exit status: 0 done, 1 refused, 2 usage, 3 not found,\n"
         "4 conflict, 5 unreachable, or may succeed later. See snapgroupctl(1).");
}
