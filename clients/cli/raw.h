/* SPDX-License-Identifier: Apache-2.0
 *
 * Any call of the contract.
 */
#ifndef CLI_RAW_H
#define CLI_RAW_H

#include "clients/cli/command.h"

int run_api(struct call *call);

#endif
