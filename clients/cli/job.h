/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands about jobs, and the end of commands that begin one.
 */
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include "clients/cli/client.h"

int run_job_list(struct call *call);
int run_job_show(struct call *call);
int run_job_watch(struct call *call);
int run_job_cancel(struct call *call);
int run_job_pause(struct call *call);
int run_job_resume(struct call *call);
int run_job_limit(struct call *call);

/* Waits for the job in `reply`, if the call wants that, and shows it. */
int job_finish(struct call *call, struct reply *reply);

#endif
