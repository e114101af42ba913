/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGHUP: reads the options again and applies all of those that may change while the daemon runs,
 * or, if anything is wrong, none. Called by daemon.c, on the thread that waits for signals.
 */
#ifndef SERVICE_RELOAD_H
#define SERVICE_RELOAD_H

#include "service/options.h"

struct http;
struct service;

struct reload {
    struct service *service;
    const struct options *started; /* by which the daemon was started */
    const char *runtime_dir;
    struct options *applied; /* those of the last reload, whose texts are in use; NULL: none yet */
};

/* Connections stay. Logs what has changed and what needs a restart, or why nothing has changed. */
void reload_run(struct reload *reload, struct http *http);

/* Once nothing is served any more. */
void reload_close(struct reload *reload);

#endif
