/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying a member of a group to an image file of its own (block/copy.h), as a job.
 *
 *   file    none    --copies_begin-->  the job is queued
 *           staged  it is being written; `offset_bytes`: it was stopped there, and all below is
 *                   durable. After a kill the file goes, and is made anew
 *           whole   it is durable, and gets its name; the job ends itself
 *           none    done: the file is the operator's, and nothing remembers it
 *
 * A job that has failed, or was cancelled, leaves no file. The group cannot be deleted while one of
 * its copies has not finished.
 */
#ifndef SERVICE_COPIES_H
#define SERVICE_COPIES_H

#include "service/events.h"
#include "store/jobs.h"

struct service;

struct copy_request {
    const char *group; /* id or name */
    const char *device;
    const char *image, *format;
    const struct origin *origin;
};

/* What an error of these calls is about. */
enum copy_part { COPY_PART_ITSELF, COPY_PART_GROUP, COPY_PART_DEVICE, COPY_PART_IMAGE };

struct copy_plan {
    uint64_t copy_bytes;
    uint64_t free_bytes; /* of the image's file system */
    char *image;         /* absolute; heap */
};

/* What copying would do, if it were done. Codes: GroupNotFound, GroupDeleting, DeviceInUse (the
 * group is not finished), DeviceNotFound, and those of copy_open() and copy_check(), also if there
 * is not enough space. */
int copies_plan(struct service *service, const struct copy_request *request, struct copy_plan *plan,
                enum copy_part *part, struct err *err);

/* Queues the job, with the request's key. The same codes, and DeviceInUse (another copy makes that
 * image), StoreFailed. */
int copies_begin(struct service *service, const struct copy_request *request, struct job_row *job,
                 enum copy_part *part, struct err *err);

/* The image and the format of a copy's `spec`; heap. OutOfResources. */
int copies_spec(const struct job_row *job, char **image, char **format, struct err *err);

/* The job's thread. 0: all is done; 1: the job was told to stop; -1: *err. */
int copies_run(struct service *service, struct job_row *job, struct err *err);

/* After the end of a job, on any thread: its file is one like any other, or goes. What cannot be
 * done now is retried. */
void copies_settle(struct service *service, const char *id);

/* The same of a job that has ended without running, for a call that waits for storage as long as a
 * plan does. */
void copies_settle_briefly(struct service *service, const struct job_row *job);

/* The same for all jobs, at a start; and names that a power failure has brought back of files of
 * the last ones are removed. */
void copies_settle_all(struct service *service);

#endif
