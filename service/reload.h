/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGHUP. Called by daemon.c.
 */
#ifndef SERVICE_RELOAD_H
#define SERVICE_RELOAD_H

#include "service/options.h"

/* Reads the files of TLS again, and logs what is wrong with them. */
typedef void reload_certificates(void *context);

/* Reads all options again and applies those that may change while the daemon runs; connections
 * stay. If one is wrong, nothing changes. Then reloads the certificates. Logs the outcome, with the
 * options that need a restart. `is_ready`: the service manager knows that the daemon is. */
void reload_run(const struct options *started, bool is_ready, reload_certificates *certificates,
                void *context);

#endif
