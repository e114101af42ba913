/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands that make a group: a snapshot, or a rollback to another one.
 */
#ifndef CLI_GROUP_TAKE_H
#define CLI_GROUP_TAKE_H

#include "clients/cli/command.h"

int run_group_take(struct call *call);
int run_group_rollback(struct call *call);

#endif
