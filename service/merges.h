/* SPDX-License-Identifier: Apache-2.0
 *
 * Carrying out one merge of a job, from the stage that its row has on. The diagram is in deletes.h.
 */
#ifndef SERVICE_MERGES_H
#define SERVICE_MERGES_H

#include "block/merge.h"
#include "store/jobs.h"

struct service;

/* Whether the file may not be there although the row is: that of an overlay or a clone comes before
 * its file, and that of a top that goes with its device, after it. */
bool row_is_changing(const struct image_row *row);

/* Explains why an image that stands on another one could not be opened: DeviceInUse, if it is
 * changing and not there. Returns -1. */
int merge_child_explain(const char *path, bool is_changing, struct err *err);

/* Removes the files of a merge that is redirected, those that are there; a job or, when that has
 * ended, the leftovers' thread. */
int merges_remove_files(struct service *service, const struct merge_row *row, struct err *err);

/* 0: it is done, dropped, or left since the device was detached; 1: the job was told to stop; -1:
 * *err. */
int merges_carry_out(struct service *service, struct job_row *job, struct merge_row *row,
                     struct err *err);

#endif
