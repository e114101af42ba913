/* SPDX-License-Identifier: Apache-2.0
 *
 * See copies.h.
 *
 * Invariants:
 *   I1. The row says `staged` before the file exists, and `none` only once it is gone or kept: a
 *       start finds it. No assert: only a look at the disk would show.
 *   I2. A file that is begun anew is empty: what was there is discarded before. No assert: the
 *       block layer creates it, and fails if there is one.
 */
#include "service/copies.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "block/copy.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/idempotency.h"
#include "service/image-looks.h"
#include "service/job-control.h"
#include "service/job-work.h"
#include "service/json.h"
#include "service/leftovers.h"
#include "service/names.h"
#include "service/snapshot-groups.h"
#include "service/storage-calls.h"
#include "service/unsettled.h"
#include "store/job-conflicts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEAT_MS = 20, OPEN_TRIES = 250, STORE_WAIT_MS = 1000 };

/* ---- what is copied where ---- */

/* The member's export, by its group's id; heap. */
static char *export_name(const char *device, const char *group_id)
{
    char *name;
    return asprintf(&name, "%s@%s", device, group_id) < 0 ? NULL : name;
}

/* Whoever deletes the group withdraws the export for a moment, before he is refused. NULL and *err;
 * DeviceNotFound: it is to be tried again. */
static struct copy *member_open(struct service *service, const char *group_id, const char *device,
                                struct err *err)
{
    CLEANUP_FREE char *export = export_name(device, group_id);
    if (export)
        return copy_open(service->block, export, err);
    err_set(err, ErrOutOfResources, 0, "there is no memory for a copy");
    return NULL;
}

/* What is asked of storage before a copy begins, by a thread of storage-calls.h. */
struct planning {
    char *export, *wanted, *format, *storage; /* heap; the last one: of the member's chain */
    enum copy_part part;                      /* that it is looking at */
    struct copy_plan plan;                    /* what it found */
    char identity[FILE_IDENTITY_BYTES];       /* of the directory of plan.image */
};

static void planning_free(void *context)
{
    struct planning *planning = context;
    if (!planning)
        return;
    free(planning->export);
    free(planning->wanted);
    free(planning->format);
    free(planning->storage);
    free(planning->plan.image);
    free(planning);
}
CLEANUP_DEFINE(planning, struct planning *, planning_free)

/* Fills the plan, also if there is not enough space. */
static int planning_work(void *context, struct block *block, struct err *err)
{
    struct planning *planning = context;
    struct copy_plan *plan = &planning->plan;
    CLEANUP(copy) struct copy *copy = copy_open(block, planning->export, err);
    if (!copy || copy_measure(copy, &plan->copy_bytes, err) != 0)
        return -1;
    planning->part = COPY_PART_IMAGE;
    plan->image = block_resolve(block, planning->wanted, err);
    const struct copy_target target = {.path = plan->image, .format = planning->format};
    if (!plan->image || copy_check(block, &target, &plan->free_bytes, err) != 0 ||
        block_directory_identity(block, plan->image, planning->identity, err) != 0)
        return -1;
    return job_work_check_space(plan->copy_bytes, plan->free_bytes, err);
}

static struct planning *planning_new(struct service *service, const struct copy_request *request,
                                     const char *group_id, const char *image, struct err *err)
{
    CLEANUP(planning) struct planning *planning = calloc(1, sizeof(*planning));
    if (planning) {
        planning->part = COPY_PART_DEVICE;
        planning->export = export_name(request->device, group_id);
        planning->wanted = strdup(request->image);
        planning->format = strdup(request->format);
    }
    if (!planning || !planning->export || !planning->wanted || !planning->format) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for the plan of a copy");
        return NULL;
    }
    planning->storage = chain_storage(service, image, err);
    return planning->storage ? steal(planning) : NULL;
}

/* *planning is NULL then if it may still go on. */
static int planning_call(struct service *service, struct planning **planning, struct err *err)
{
    CLEANUP_FREE char *what = NULL;
    if (asprintf(&what, "'%s' or of its copy", (*planning)->export) < 0)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the plan of a copy");
    struct storage_call call = {.what = what,
                                .storage = (*planning)->storage,
                                .work = planning_work,
                                .free = planning_free,
                                .context = *planning};
    int ret = plan_call(service, &call, err);
    *planning = call.context;
    return ret;
}

/* *planning: what was found, also where something was refused; NULL: nothing. */
static int request_plan(struct service *service, const struct copy_request *request,
                        struct group_row *group, struct planning **planning, enum copy_part *part,
                        struct err *err)
{
    *part = COPY_PART_GROUP;
    if (snapshot_groups_get_committed(service, request->group, group, err) != 0)
        return -1;
    *part = COPY_PART_DEVICE;
    const struct member_row *member = group_row_member(group, request->device);
    if (!member || !member->backing_file)
        return err_set(err, ErrDeviceNotFound, 0, "device '%s' is no member of snapshot group '%s'",
                       request->device, group->name);
    *part = COPY_PART_ITSELF;
    *planning = planning_new(service, request, group->id, member->backing_file, err);
    int ret = *planning ? planning_call(service, planning, err) : -1;
    if (*planning)
        *part = (*planning)->part;
    return ret;
}

int copies_plan(struct service *service, const struct copy_request *request, struct copy_plan *plan,
                enum copy_part *part, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP(planning) struct planning *planning = NULL;
    *plan = (struct copy_plan){0};
    int ret = request_plan(service, request, &group, &planning, part, err);
    if (planning) {
        *plan = planning->plan;
        planning->plan.image = NULL;
    }
    return ret;
}

/* ---- beginning ---- */

/* JSON object; heap, or NULL and *err. `directory`: its identity. */
static char *spec_format(const char *image, const char *format, const char *directory,
                         struct err *err)
{
    CLEANUP(cjson) cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "image", image);
    cJSON_AddStringToObject(json, "format", format);
    cJSON_AddStringToObject(json, "directory", directory);
    char *spec = cJSON_PrintUnformatted(json);
    if (!spec)
        err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    return spec;
}

static int copy_record(struct service *service, const struct copy_request *request,
                       const struct job_row *row, const char *image, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_job_insert_copy(transaction, row, image, err) != 0 ||
        event_record_job(transaction, request->origin, EVENT_JOB_QUEUED, row->id, row->group_id,
                         err) != 0 ||
        key_record(transaction, request->origin, "job", row->id, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* What an error of copy_record() is about. */
static enum copy_part error_part(enum err_code code)
{
    return code == ErrGroupDeleting ? COPY_PART_GROUP
           : code == ErrDeviceInUse ? COPY_PART_IMAGE
                                    : COPY_PART_ITSELF;
}

int copies_begin(struct service *service, const struct copy_request *request, struct job_row *job,
                 enum copy_part *part, struct err *err)
{
    static char none[] = "[]";
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP(planning) struct planning *planning = NULL;
    *job = (struct job_row){0};
    if (request_plan(service, request, &group, &planning, part, err) != 0)
        return -1;
    const struct copy_plan *plan = &planning->plan;
    CLEANUP_FREE char *spec = spec_format(plan->image, request->format, planning->identity, err);
    if (!spec)
        return -1;
    struct job_row row = {.kind = JOB_COPY,
                          .group_id = group.id,
                          .device = (char *)request->device,
                          .spec = spec,
                          .kept = none,
                          .total_bytes = plan->copy_bytes,
                          .created_at_us = clock_now_us()};
    id_new(row.id);
    if (copy_record(service, request, &row, plan->image, err) != 0) {
        *part = error_part(err->code);
        return -1;
    }
    job_control_wake(service->job_control);
    return store_job_get(service->store, row.id, job, err) < 0 ? -1 : 0;
}

/* ---- what a job is about ---- */

static char *spec_text(const cJSON *spec, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(spec, name));
    return text ? strdup(text) : NULL;
}

struct copy_spec {
    char *image, *format, *directory; /* heap */
    struct copy_target target;        /* borrows them */
};

static void copy_spec_clear(struct copy_spec *spec)
{
    free(spec->image);
    free(spec->format);
    free(spec->directory);
}

static int copy_spec_parse(const struct job_row *job, struct copy_spec *spec, struct err *err)
{
    CLEANUP(cjson) cJSON *json = cJSON_Parse(job->spec);
    *spec = (struct copy_spec){.image = spec_text(json, "image"),
                               .format = spec_text(json, "format"),
                               .directory = spec_text(json, "directory")};
    spec->target = (struct copy_target){
        .path = spec->image, .format = spec->format, .directory = spec->directory};
    id_bytes(job->id, spec->target.id);
    return spec->image && spec->format && spec->directory
               ? 0
               : err_set(err, ErrOutOfResources, 0, "there is no memory for job '%s'", job->id);
}

int copies_spec(const struct job_row *job, char **image, char **format, struct err *err)
{
    CLEANUP_BY(copy_spec_clear) struct copy_spec spec = {0};
    if (copy_spec_parse(job, &spec, err) != 0)
        return -1;
    *image = steal(spec.image);
    *format = steal(spec.format);
    return 0;
}

/* ---- recording ---- */

/* 1; 0: the job was changed meanwhile; -1. */
static int file_record(struct service *service, const struct job_row *job, struct err *err)
{
    return job_work_record(service, job, store_job_update_file, err);
}

/* The same; waits for a store that fails, so that no copy begins anew for that. */
static int file_record_patiently(struct service *service, const struct job_row *job,
                                 struct err *err)
{
    for (;;) {
        int changed = unsettled_resolve(service, err) == 0 ? file_record(service, job, err) : -1;
        if (changed >= 0 || !err_is_of_store(err))
            return changed;
        log_warning("job %s waits for the store: %s", job->id, err->message);
        if (job_control_sleep(service->job_control, STORE_WAIT_MS))
            return changed;
    }
}

/* ---- running ---- */

struct copying {
    struct service *service;
    struct job_row *job;
    const struct copy_spec *spec;
    struct copy *copy;
};

/* 0; 1: stopped; -1. */
static int copying_open(struct copying *copying, struct err *err)
{
    const struct job_row *job = copying->job;
    for (int tries = 0;; tries++) {
        copying->copy = member_open(copying->service, job->group_id, job->device, err);
        if (copying->copy)
            return 0;
        if (err->code != ErrDeviceNotFound || tries == OPEN_TRIES)
            return -1;
        if (job_control_sleep(copying->service->job_control, REPEAT_MS))
            return 1;
    }
}

/* A file that was stopped goes on where it was; another one is made anew (I1, I2). *offset: where
 * the copy begins. 0; 1: the job was cancelled meanwhile, and has no file; -1. */
static int copying_begin(struct copying *copying, uint64_t *offset, struct err *err)
{
    uint64_t free_bytes;
    struct job_row *job = copying->job;
    const struct copy_spec *spec = copying->spec;
    bool is_continued = job->file_state == JOB_FILE_STAGED && job->offset_bytes > 0;
    *offset = job->offset_bytes;
    if (!is_continued &&
        (block_image_discard(copying->service->block, spec->image, spec->directory, spec->target.id,
                             err) != 0 ||
         copy_check(copying->service->block, &spec->target, &free_bytes, err) != 0 ||
         job_work_check_space(job->total_bytes, free_bytes, err) != 0))
        return -1;
    job->file_state = JOB_FILE_STAGED;
    job->offset_bytes = 0;
    job->done_bytes = is_continued ? job->done_bytes : 0;
    int changed = file_record(copying->service, job, err);
    if (changed <= 0)
        return changed < 0 ? -1 : 1;
    return copy_begin(copying->copy, &spec->target, is_continued, err);
}

static int copying_piece(void *context, uint64_t *offset, uint64_t *bytes, struct err *err)
{
    const struct copying *copying = context;
    return copy_piece(copying->copy, offset, bytes, err);
}

/* While it goes on, only its progress is of interest, which waits for no store. */
static int copying_save(void *context, uint64_t offset, enum job_save why, struct err *err)
{
    struct err unrecorded;
    const struct copying *copying = context;
    struct job_row *job = copying->job;
    if (copy_flush(copying->copy, err) != 0)
        return -1;
    job->offset_bytes = why == JOB_SAVE_DUE ? 0 : offset;
    if (why != JOB_SAVE_ALL && file_record(copying->service, job, &unrecorded) < 0)
        log_warning("the progress of job %s is not recorded: %s", job->id, unrecorded.message);
    return 0;
}

/* 0; 1: it was paused or cancelled at the last moment. */
static int copying_end(struct copying *copying, struct err *err)
{
    struct job_row *job = copying->job;
    if (copy_finish(copying->copy, err) != 0)
        return -1;
    job->file_state = JOB_FILE_WHOLE;
    int changed = file_record_patiently(copying->service, job, err);
    if (changed != 0)
        return changed < 0 ? -1 : 0;
    job->file_state = JOB_FILE_STAGED;
    return file_record(copying->service, job, err) < 0 ? -1 : 1;
}

static int copying_run(struct copying *copying, struct err *err)
{
    uint64_t offset;
    const struct job_work work = {copying, copying_piece, copying_save, NULL};
    int ret = copying_open(copying, err);
    if (ret == 0)
        ret = copying_begin(copying, &offset, err);
    if (ret == 0)
        ret = job_work_run(copying->service, copying->job, &work, offset, err);
    if (ret == 0)
        ret = copying_end(copying, err);
    if (copying->copy)
        copy_close(copying->copy);
    return ret;
}

static int file_keep(struct service *service, const struct copy_spec *spec, struct err *err)
{
    return block_image_keep(service->block, spec->image, spec->target.id, err);
}

int copies_run(struct service *service, struct job_row *job, struct err *err)
{
    struct err later;
    CLEANUP_BY(copy_spec_clear) struct copy_spec spec = {0};
    struct copying copying = {service, job, &spec, NULL};
    if (copy_spec_parse(job, &spec, err) != 0)
        return -1;
    int ret = job->file_state == JOB_FILE_WHOLE ? 0 : copying_run(&copying, err);
    if (ret != 0)
        return ret;
    if (copy_publish(service->block, &spec.target, err) != 0)
        return -1;
    if (file_keep(service, &spec, &later) == 0) /* else copies_settle() does it */
        job->file_state = JOB_FILE_NONE;
    return 0;
}

/* ---- settling ---- */

static int file_settle(struct service *service, struct job_row *job, struct err *err)
{
    CLEANUP_BY(copy_spec_clear) struct copy_spec spec = {0};
    if (copy_spec_parse(job, &spec, err) != 0)
        return -1;
    int ret = job->state == JOB_DONE ? file_keep(service, &spec, err)
                                     : block_image_discard(service->block, spec.image,
                                                           spec.directory, spec.target.id, err);
    job->file_state = JOB_FILE_NONE;
    return ret == 0 && file_record(service, job, err) >= 0 ? 0 : -1;
}

static int job_settle(struct service *service, const char *id, struct err *err)
{
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    int found = store_job_get(service->store, id, &job, err);
    if (found <= 0 || !job_state_is_finished(job.state) || job.file_state == JOB_FILE_NONE)
        return found < 0 ? -1 : 0;
    return file_settle(service, &job, err);
}

static bool leftover_retry(struct service *service, const struct leftover *leftover)
{
    struct err err;
    return job_settle(service, leftover->id, &err) == 0;
}

static void settle_later(struct service *service, const char *id, const struct err *cause)
{
    leftovers_add(service, leftover_retry, id, NULL, cause);
}

void copies_settle(struct service *service, const char *id)
{
    struct err err;
    if (job_settle(service, id, &err) != 0)
        settle_later(service, id, &err);
}

struct settling {
    struct service *service;
    char id[STORE_ID_CHARS + 1];
};

static int settling_work(void *context, struct block *block, struct err *err)
{
    (void)block;
    const struct settling *settling = context;
    return job_settle(settling->service, settling->id, err);
}

static int settling_call(struct service *service, const struct job_row *job, struct err *err)
{
    CLEANUP_BY(copy_spec_clear) struct copy_spec spec = {0};
    CLEANUP_FREE struct settling *settling = calloc(1, sizeof(*settling));
    if (!settling)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for job '%s'", job->id);
    if (copy_spec_parse(job, &spec, err) != 0)
        return -1;
    *settling = (struct settling){.service = service};
    memcpy(settling->id, job->id, sizeof(settling->id));
    *strrchr(spec.image, '/') = 0; /* an absolute path */
    struct storage_call call = {.what = "a copy that was cancelled",
                                .storage = spec.image,
                                .work = settling_work,
                                .free = free,
                                .context = settling};
    int ret = plan_call(service, &call, err);
    settling = call.context;
    return ret;
}

void copies_settle_briefly(struct service *service, const struct job_row *job)
{
    struct err err;
    if (settling_call(service, job, &err) != 0)
        settle_later(service, job->id, &err);
}

/* A power failure may bring back the names under which the file was written, whatever was synced
 * (recovery.c). */
static void names_tidy(struct service *service, const struct job_row *job)
{
    struct err err;
    CLEANUP_BY(copy_spec_clear) struct copy_spec spec = {0};
    if (copy_spec_parse(job, &spec, &err) != 0 || file_keep(service, &spec, &err) != 0)
        log_error("job %s: %s", job->id, err.message);
}

void copies_settle_all(struct service *service)
{
    struct err err;
    uint64_t after = 0;
    int found;
    do {
        CLEANUP_BY(job_row_clear) struct job_row job = {0};
        found = store_job_next_file(service->store, after, &job, &err);
        if (found > 0 && job.file_state == JOB_FILE_NONE)
            names_tidy(service, &job);
        else if (found > 0)
            copies_settle(service, job.id);
        if (found > 0)
            after = job.sequence;
    } while (found > 0);
    if (found < 0)
        log_error("files of copies that were given up stay until the next start: %s", err.message);
}
