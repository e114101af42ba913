/* SPDX-License-Identifier: Apache-2.0
 *
 * Deleting a group. Its frozen images are needed no longer: each one that only one image stands on
 * is merged with that (tree.h says which, block/merge.h how), and takes its place; one without any
 * goes; one that others stand on stays.
 *
 *   group  committed --delete_begin--> deleting --(all its merges done)--> deleted
 *   job    queued --> running: deletes_run (delete-run.h)
 *              cut the devices whose tops stand on these images
 *              plan, and record the merges; carry them out; plan again
 *
 *   merge  planned     the space was looked at, headers have room; base is about to be written
 *          copying     offset_bytes: below it all is pushed and durable
 *          copied      the images above name base, one after the other; chains go on with base
 *          redirected  the rows, too; the files go
 *          done
 *
 * The job's spec names the lowest images of the trees: after all images of the group have gone, its
 * trees are still found by them.
 *
 * Each step is recorded, and may be repeated: after a restart, or by another DELETE when the job
 * has failed or was cancelled, of the same group or of another one with images of the tree: what
 * was begun is finished first. Files that only could not be removed are tried again (left-files.h).
 */
#ifndef SERVICE_DELETES_H
#define SERVICE_DELETES_H

#include "service/events.h"
#include "service/labels.h"
#include "store/jobs.h"

struct service;

/* What deleting a group would do. */
struct delete_plan {
    uint64_t copy_bytes;  /* that are pushed */
    uint64_t freed_bytes; /* of files that go */
    uint64_t free_bytes;  /* the least of the file systems that are written; UINT64_MAX: none is */
    char *kept;           /* JSON array of {"device","image","because"}; heap */
};

/* Codes: those of delete_begin(), and as merge_open(). */
int delete_plan(struct service *service, const char *id_or_name, const struct condition *condition,
                struct delete_plan *plan, struct err *err);

/* Begins: the group cannot come back. *job is its job, a new one unless one has not finished.
 * Codes: GroupNotFound, GroupHeld, DeviceInUse (not finished, or a client reads a member),
 * StoreFailed, PreconditionFailed. */
int delete_begin(struct service *service, const char *id_or_name, const struct condition *condition,
                 const struct origin *origin, struct job_row *job, struct err *err);

/* Plans the tree of an image again, since something went that stood in it, or that needed it: if
 * there is something to do, a new job of a group that was deleted does it, as if it had been
 * possible then. So it is with a merge that was left because the device was detached, once its top
 * is attached again. That a plan is due is recorded with what has gone or come (store/merges.h);
 * that it is made, here. StoreFailed, OutOfResources. */
int delete_replan(struct service *service, const char *image, const struct origin *origin,
                  struct err *err);

/* The same soon, on the leftovers' thread: once the daemon serves, and no row is in doubt. */
void delete_replan_later(struct service *service, const char *image);

/* The same of all that are due, when an earlier daemon has ended before them. */
int delete_replan_due(struct service *service, struct err *err);

#endif
