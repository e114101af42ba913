/* SPDX-License-Identifier: Apache-2.0
 *
 * The states of a group transaction, whose diagram is in group.c: what holds in each. Private to
 * device/. Called by the thread that runs the group.
 */
#ifndef BLOCK_DEVICE_GROUP_STATE_H
#define BLOCK_DEVICE_GROUP_STATE_H

#include "block/device/member.h"

void group_assert_state(struct group *group, enum transaction_state state);
void group_enter_state(struct group *group, enum transaction_state state);

#endif
