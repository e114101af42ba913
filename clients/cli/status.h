/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands about the daemon itself.
 */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "clients/cli/command.h"

int run_status(struct call *call);

#endif
