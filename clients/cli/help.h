/* SPDX-License-Identifier: Apache-2.0
 *
 * --help, from the tables.
 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "clients/cli/command.h"

/* Of the command; of all if there is none, or of those that begin with the word that was given. */
void help_print(const struct call *call);

/* "NAME DEVICE..." of a command, with a space before each. */
void help_arguments_print(const struct command *command);

#endif
