/* SPDX-License-Identifier: Apache-2.0
 *
 * Carrying out the job that deletes a group, on the jobs' threads: forget, cut, plan, merge, and
 * plan again. deletes.h tells how it begins, and the stages of its merges.
 */
#ifndef SERVICE_DELETE_RUN_H
#define SERVICE_DELETE_RUN_H

#include "store/jobs.h"

struct service;

/* Runs the job to its end. 0; 1: it was told to stop; -1: *err. The job's thread only. */
int deletes_run(struct service *service, struct job_row *job, struct err *err);

#endif
