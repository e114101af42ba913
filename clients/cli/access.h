/* SPDX-License-Identifier: Apache-2.0
 *
 * What the user says about who calls whom, checked before anything is sent: a token holds no space
 * or line end, and is not sent in the clear to another machine.
 */
#ifndef CLI_ACCESS_H
#define CLI_ACCESS_H

#include "clients/cli/command.h"

/* Checks a URL; sets whether a secret may be sent there. EXIT_USAGE. */
int access_check_url(const char *url, bool *is_private, struct failure *failure);

/* Sets the header that has the token, which the caller frees; NULL: there is no token.
 * EXIT_USAGE. */
int access_authorization(const struct call *call, char **authorization, struct failure *failure);

#endif
