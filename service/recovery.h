/* SPDX-License-Identifier: Apache-2.0
 *
 * Every start, before the first request: unfinished work is completed or undone according to its
 * row, and the devices are opened. After a clean shutdown there is no unfinished work.
 */
#ifndef SERVICE_RECOVERY_H
#define SERVICE_RECOVERY_H

#include "base/err.h"

struct service;

/* On the main thread, before any other use of the service. StoreFailed is the only error; a broken
 * image makes one failed device. */
int recovery_run(struct service *service, struct err *err);

#endif
