/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `merges`: the pushes of a job, and the files that go without one. See store.h for the
 * rules of queries, and service/tree.h for what is merged.
 *
 *   planned --> copying --> copied --> redirected --> done
 *      |           +---(upper is a top)----^
 *      +---------(base NULL)---------------^
 *
 * A merge that is not done keeps its base to itself: no other one has it.
 *
 * One of a live top whose device was detached while it was `copying` stays so: its base, half
 * written, is beneath the top and nothing else until the merge goes on. Once the top is attached
 * again, and the job has ended without it, a plan of the tree is due, for another job.
 */
#ifndef STORE_MERGES_H
#define STORE_MERGES_H

#include "base/err.h"
#include "store/row.h"

struct store;
struct store_transaction;

const char *merge_stage_name(enum merge_stage stage); /* "planned" and so on */

/* Inserts a merge, MERGE_PLANNED, of the job with that id, if it may still be done: every image
 * from base up to, not including, upper may be written, is not needed and has one child, those
 * above base are made, and none is the base of another merge; or, with base NULL, upper is made,
 * not needed, and has no child. Never while it is not known what is under the tree, or under a
 * device of another. 1, and row->id is given; 0: not so, or not any more; -1: *err. */
int store_merge_insert(struct store_transaction *transaction, const char *job_id,
                       struct merge_row *row, struct err *err);

/* The same of a merge whose upper image is the live top of one device: a group made it, it
 * stands right on base, and nothing stands on it. */
int store_merge_insert_collapse(struct store_transaction *transaction, const char *job_id,
                                struct merge_row *row, struct err *err);

/* Deletes it, if it is only planned: nothing was written. 1; 0: it is further; -1: *err. */
int store_merge_drop(struct store_transaction *transaction, const struct merge_row *row,
                     struct err *err);

/* Gives the job with that id, of that group, what jobs that have finished have left undone: those
 * of the group; in the trees of its images, where nothing could be planned near it; and files that
 * only have to be removed. Merges of these that are only planned are dropped: nothing was pushed,
 * and each job plans anew. total_bytes of the job follows. How many merges it has got, or -1. */
int store_merge_adopt(struct store_transaction *transaction, const char *job_id,
                      const char *group_id, struct err *err);

/* Reads the merge with row->id anew: another job may have it by now. 1; 0: it is gone, and *row
 * stays as it was; -1: *err. */
int store_merge_reload(struct store *store, struct merge_row *row, struct err *err);

/* Each of these changes the merge with row->id. 1; 0: it is not in the stage before, or is gone;
 * -1: *err. */

/* To row->stage, from the one before it: MERGE_COPYING, MERGE_COPIED or MERGE_DONE. */
int store_merge_update_stage(struct store_transaction *transaction, const struct merge_row *row,
                             struct err *err);

/* row->offset_bytes and pushed_bytes, while it is copying. */
int store_merge_update_offset(struct store_transaction *transaction, const struct merge_row *row,
                              struct err *err);

/* Another number before each change of a merge to MERGE_REDIRECTED and to MERGE_DONE is made: a
 * chain that was read while this stayed the same is still there, as far as merges go. */
uint64_t store_merges_generation(const struct store *store);

/* To MERGE_REDIRECTED: what names upper names base from now on, the children and the members of
 * groups; the rows of upper and of all between go. With base NULL, that of upper goes. */
int store_merge_redirect(struct store_transaction *transaction, const struct merge_row *row,
                         struct err *err);

/* To MERGE_COPYING, of one that is planned for a live top, which must be one still. */
int store_merge_begin_collapse(struct store_transaction *transaction, const struct merge_row *row,
                               struct err *err);

/* From MERGE_COPYING to MERGE_REDIRECTED: base is the top of the device that has upper as top, if
 * that is still so and nothing else has either image, and may be written from now on: it is frozen
 * no longer. The row of upper goes. */
int store_merge_collapse(struct store_transaction *transaction, const struct merge_row *row,
                         struct err *err);

/* ---- plans that are due ---- */

/* Whether the image is the base of a merge that a job has left when it ended, because the device
 * was detached, and which can go on: the top is attached again. 1, and the id of the job's group,
 * which is deleted; 0; -1: *err. */
int store_merge_find_left(struct store *store, const char *base, char group_id[STORE_ID_CHARS + 1],
                          struct err *err);

/* The first image after `after` ("": of all) of which a plan is due: 1, and *image, heap; 0: there
 * is none; -1: *err. */
int store_plan_next_due(struct store *store, const char *after, char **image, struct err *err);

/* Whether a plan of the image's tree is due: 1; 0; -1: *err. */
int store_plan_is_due(struct store *store, const char *image, struct err *err);

/* It is made. 0; -1: *err. */
int store_plan_done(struct store_transaction *transaction, const char *image, struct err *err);

#endif
