/* SPDX-License-Identifier: Apache-2.0
 *
 * Failures of devices, which no request causes: a thread records each as an event, device.failed.
 */
#ifndef SERVICE_FAILURES_H
#define SERVICE_FAILURES_H

#include "base/err.h"

struct service;
struct failures;

/* Starts the thread, once recovery is done. NULL and *err (OutOfResources). */
struct failures *failures_new(struct service *service, struct err *err);

/* Ends the thread. Before block and store are closed. */
void failures_free(struct failures *failures);

#endif
