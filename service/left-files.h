/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of merges that are done but for them: a job could not remove them, as a rule because their
 * storage is away. The leftovers' thread tries again, so that a group does not stay `deleting`
 * until somebody repeats its DELETE. The merge, `redirected`, of a job that has ended is the
 * record.
 */
#ifndef SERVICE_LEFT_FILES_H
#define SERVICE_LEFT_FILES_H

#include "store/jobs.h"

struct service;

/* The job has ended: keeps what it has left, if it has. Any thread. */
void left_files_keep(struct service *service, const struct job_row *job);

/* At a start: keeps what jobs of earlier daemons have left. StoreFailed. */
int left_files_find(struct service *service, struct err *err);

#endif
