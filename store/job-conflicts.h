/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs that would get in the way of others, or of the end of their group. See store.h for the rules
 * of queries.
 */
#ifndef STORE_JOB_CONFLICTS_H
#define STORE_JOB_CONFLICTS_H

#include "store/jobs.h"

/* Inserts a copy of a frozen member, as store_job_insert(): its group is committed still, and no
 * other copy that has not finished makes the file `image`. Codes: GroupDeleting, DeviceInUse (of
 * the image). */
int store_job_insert_copy(struct store_transaction *transaction, const struct job_row *row,
                          const char *image, struct err *err);

/* Whether two jobs are about images of one tree: 1, 0 or -1. What the images of their groups were
 * is told by the `roots` of their specs once those have gone (service/group-trees.h). */
int store_job_is_near(struct store *store, const char *id, const char *other, struct err *err);

#endif
