/* SPDX-License-Identifier: Apache-2.0
 *
 * A merge of a job whose upper image is the live top of a device: the last one, after which the
 * device has one image less, under its clients. See block/collapse.h.
 *
 *   planned --row--> copying --all is copied, base durable; row--> redirected --unlink, row--> done
 *                       |  ^
 *                       |  +-- a restart, or a retry, begins to copy anew
 *                       +-- another group froze the top: it is a merge like any other
 *                       +-- its device was detached: the merge is dropped, unless the job has
 *                           stopped, and the top was attached again when it goes on
 */
#ifndef SERVICE_COLLAPSES_H
#define SERVICE_COLLAPSES_H

#include "block/merge.h"
#include "store/jobs.h"

struct service;

/* Carries it out until it is redirected, beneath that device. 0; 1: the job was told to stop; 2:
 * somebody else has the device now, so that the rows are to be read again; -1: *err. */
int collapse_carry_out(struct service *service, struct merge *merge, const char *device,
                       struct job_row *job, struct merge_row *row, struct err *err);

#endif
