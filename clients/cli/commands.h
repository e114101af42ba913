/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of commands. See command.h.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "clients/cli/command.h"

extern const struct command command_rows[];
extern const size_t command_row_count;

#endif
