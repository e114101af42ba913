/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's own directories. Called by daemon.c and reload.c.
 */
#ifndef SERVICE_DIRECTORY_H
#define SERVICE_DIRECTORY_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>

/* Fills `path` with the canonical path of the directory `name`; with `create`, creates it if
 * missing, with its parents, durable and accessible to the daemon's user only. OpenFileFailed,
 * OutOfResources. */
int directory_open(const char *name, bool create, char path[PATH_MAX], struct err *err);

/* Lets others reach sockets in the directory; they cannot list it. OpenFileFailed. */
int directory_admit(const char *path, struct err *err);

#endif
