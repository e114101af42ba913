/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a merge's row, along with the progress of its job. The job's thread.
 */
#ifndef SERVICE_MERGE_RECORD_H
#define SERVICE_MERGE_RECORD_H

#include "store/jobs.h"
#include "store/merges.h"

struct service;
struct store_transaction;

/* Changes the row of a merge by that query, and the job's progress. 0; 1: the merge is gone, or in
 * another stage; -1: *err. */
int merge_record(struct service *service, const struct job_row *job, const struct merge_row *row,
                 int query(struct store_transaction *, const struct merge_row *, struct err *),
                 struct err *err);

#endif
