/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands about tokens.
 */
#ifndef CLI_TOKEN_H
#define CLI_TOKEN_H

#include "clients/cli/command.h"

int run_token_list(struct call *call);
int run_token_show(struct call *call);
int run_token_create(struct call *call);
int run_token_revoke(struct call *call);

#endif
