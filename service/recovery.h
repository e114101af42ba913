/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens at every start, before the first request: unfinished work is finished or undone as
 * its row says, and the devices come back. A start after a clean end finds nothing to finish.
 */
#ifndef SERVICE_RECOVERY_H
#define SERVICE_RECOVERY_H

#include "base/err.h"

struct service;

/* One thread, nothing else runs yet. StoreFailed is the only error; a broken image is one failed
 * device. */
int recovery_run(struct service *service, struct err *err);

#endif
