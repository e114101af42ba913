/* SPDX-License-Identifier: Apache-2.0
 *
 * Completion: the shells' scripts ask the hidden command __complete for all that they offer, so
 * that only the tables and the daemon know it.
 */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

#include "clients/cli/command.h"

int run_completion(struct call *call);

/* The arguments are the words of a command line behind "snapgroupctl", up to the one that is being
 * completed; prints what that may be, one a line. A line ":files" stands for names of files.
 * Nothing and no error if the daemon is away. */
int run_complete(struct call *call);

#endif
