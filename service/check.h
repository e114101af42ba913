/* SPDX-License-Identifier: Apache-2.0
 *
 * --check-config: finds what a start with these options would refuse, without starting. Called by
 * main.c.
 */
#ifndef SERVICE_CHECK_H
#define SERVICE_CHECK_H

#include "service/options.h"

/* Checks the forms of addresses and what they need, directories that must exist, and the files of
 * TLS. Opens no socket and creates nothing. The codes of a start. */
int check_options(const struct options *options, struct err *err);

#endif
