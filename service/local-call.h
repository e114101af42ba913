/* SPDX-License-Identifier: Apache-2.0
 *
 * One REST call to the daemon that serves a Unix socket of this machine, for commands. One thread.
 */
#ifndef SERVICE_LOCAL_CALL_H
#define SERVICE_LOCAL_CALL_H

#include "base/err.h"

struct cJSON;

/* Calls and waits for the reply; `body` is JSON text, or NULL. 1: *json is the reply's body, to be
 * freed by cJSON_Delete(), or NULL if it has none; 0: nobody serves the socket; -1: *err, which is
 * that of the daemon if it refused the call. */
int local_call(const char *socket_path, const char *method, const char *path, const char *body,
               struct cJSON **json, struct err *err);

#endif
