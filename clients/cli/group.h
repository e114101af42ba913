/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands about snapshot groups.
 */
#ifndef CLI_GROUP_H
#define CLI_GROUP_H

#include "clients/cli/cell.h"
#include "clients/cli/command.h"

int run_group_list(struct call *call);
int run_group_show(struct call *call);
int run_group_update(struct call *call);
int run_group_delete(struct call *call);
int run_group_hold(struct call *call);
int run_group_extents(struct call *call);
int run_group_copy(struct call *call);

/* Those that make a group, in group-take.c, show it as these do. */
extern const struct resource group_resource;

#endif
