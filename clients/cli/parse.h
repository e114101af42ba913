/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a command line by the tables.
 */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include "clients/cli/command.h"

/*
 * Fills `call`, whose tables are set, but not its client. The command is NULL where the line has
 * none; with --help or --version nothing else is demanded. call_release() frees what it has.
 * EXIT_USAGE.
 */
int call_parse(struct call *call, int argc, char **argv);
void call_release(struct call *call);

/* The command whose words `words` begins with; `*used` of them. NULL: there is none. */
const struct command *command_find(const struct call *call, char **words, size_t count,
                                   size_t *used);

/* The option that `text` (--name, --name=VALUE, -x) names, or OPTION_COUNT. */
enum option option_find(const struct option_row *rows, const char *text);

bool command_takes(const struct command *command, enum option option);

#endif
