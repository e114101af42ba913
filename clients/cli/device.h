/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands about devices.
 */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

#include "clients/cli/command.h"

int run_device_list(struct call *call);
int run_device_show(struct call *call);
int run_device_create(struct call *call);
int run_device_attach(struct call *call);
int run_device_clone(struct call *call);
int run_device_resize(struct call *call);
int run_device_update(struct call *call);
int run_device_detach(struct call *call);

#endif
