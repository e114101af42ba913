/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon without its servers: store, block layer, recovery and jobs, opened in the order of
 * service/daemon.c, in a directory that has "state", "images" and "run". What a daemon that was
 * killed left there is settled by the next start.
 */
#ifndef TESTS_SERVICE_FIXTURE_H
#define TESTS_SERVICE_FIXTURE_H

#include "service/context.h"

/* Makes the three directories. False: errno. */
bool service_directory_make(const char *directory);

/* Starts; in the caller's memory, which begins as zeros. What a failed start has opened stays open
 * until service_end(). */
int service_begin(struct service *service, const char *directory, struct err *err);

/* A qcow2 disk of 1 MiB, in an image of its name; an error ends the process. */
void service_must_create(struct service *service, const char *name);

/* Ends the jobs, flushes and closes everything. -1 and *err if a flush failed. */
int service_end(struct service *service, struct err *err);

#endif
