/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's life. Called by main.c.
 */
#ifndef SERVICE_DAEMON_H
#define SERVICE_DAEMON_H

#include "service/options.h"

#include <signal.h>

/* The signals that daemon_run() waits for: SIGTERM and SIGINT end the daemon, SIGHUP reloads. The
 * caller blocks them before daemon_run(); they stay blocked in all threads, so a second one during
 * shutdown has no effect. */
void daemon_signals(sigset_t *set);

/* Starts everything, serves until SIGTERM or SIGINT, closes everything. Returns the exit status: 0,
 * or 1 with the reason in the log. */
int daemon_run(const struct options *options);

#endif
