/* SPDX-License-Identifier: Apache-2.0
 *
 * The command about events.
 */
#ifndef CLI_EVENT_H
#define CLI_EVENT_H

#include "clients/cli/command.h"

int run_events(struct call *call);

#endif
