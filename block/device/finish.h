/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a group's members after the cut: each by itself, on the group's own threads. Private
 * to device/. finish.c implements what group.h has of it; this is what a group needs besides.
 */
#ifndef BLOCK_DEVICE_FINISH_H
#define BLOCK_DEVICE_FINISH_H

#include "block/device/member.h"

/* Room for the threads, before anything is frozen. -1 when memory is short. */
int finish_init(struct group *group);

/* Waits for the threads, which have no member left or were stopped, and frees what finish_init()
 * made. Also without either. */
void finish_end(struct group *group);

#endif
