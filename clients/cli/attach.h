/* SPDX-License-Identifier: Apache-2.0
 *
 * The command that prints how a program is to use a disk.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "clients/cli/command.h"

int run_attach(struct call *call);

#endif
