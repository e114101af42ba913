/* SPDX-License-Identifier: Apache-2.0
 *
 * The options that the environment and the file set. Precedence, option by option:
 *
 *   command line > environment > file
 *
 * but where the daemon is (--socket, --url) and who calls (--token, --token-file) is each one
 * question: the first of the three that answers it decides it as a whole.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "clients/cli/command.h"

/* Adds to the options of `call`. EXIT_USAGE. */
int settings_read(struct call *call);

#endif
