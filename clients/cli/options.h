/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of options. See command.h.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "clients/cli/command.h"

#define CLI_SOCKET_DEFAULT "/run/snapgroupd/api.sock"

extern const struct option_row option_rows[OPTION_COUNT];

#endif
