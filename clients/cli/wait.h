/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for the end of work that goes on in the daemon, with a bar on standard error if that is a
 * terminal.
 */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include "clients/cli/client.h"

/* Whether the call is to wait: unless --no-wait was given. EXIT_USAGE: both were. */
int wait_wanted(struct call *call, bool *is_wanted);

/*
 * Waits until the job has finished, and leaves it in `reply`. EXIT_REFUSED, also of a cancelled
 * one; EXIT_UNREACHABLE: --timeout is over, and the job goes on.
 */
int wait_job(struct call *call, const char *id, struct reply *reply);

/* The same, of a group that is not committed yet. */
int wait_group(struct call *call, const char *id, struct reply *reply);

/* The member `id` of the object in `reply`, which the caller frees; NULL: it has none. */
char *wait_id(const struct reply *reply);

#endif
