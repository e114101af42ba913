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

/* The oldest job in that state, named as in the database, that is none of `running` and about no
 * image of a tree of theirs; `running`: their ids, as a JSON array. What the images of groups were
 * is told by the `roots` of the jobs' specs once those have gone (service/group-trees.h). `id` gets
 * its id: 1; 0: there is none; -1. The cost grows with the jobs that are passed over, the memory
 * does not. */
int store_job_find_free(struct store *store, const char *state, const char *running,
                        char id[STORE_ID_CHARS + 1], struct err *err);

#endif
