/* SPDX-License-Identifier: Apache-2.0
 *
 * `snapgroupd token`: makes, lists and revokes tokens. Called by main.c.
 */
#ifndef SERVICE_TOKEN_COMMAND_H
#define SERVICE_TOKEN_COMMAND_H

#include <stdbool.h>

/* Whether the command line is of this command, and not of a daemon. */
bool token_command_is_meant(int argc, char **argv);

/* Runs the command. Returns the exit status: 0; 1: it failed; 2: the command line is wrong. */
int token_command_run(int argc, char **argv);

#endif
