/* SPDX-License-Identifier: Apache-2.0
 *
 * See merges.h.
 *
 * Invariants:
 *   I1. A row says `copying` before the first byte of base is written, and `copied` after the last
 *       one is durable. No assert: only a look at the disk would show.
 *   I2. Once the row says `copied`, the store puts nothing on upper any more. What was put there
 *       before has a row until it was given up; its file, if it is not there yet, is waited for. So
 *       all that stand on upper are found then. No assert: it is the store's and the block layer's
 *       to keep.
 *   I3. A file goes after its row, by the id in its header.
 */
#include "service/merges.h"

#include "base/log.h"
#include "block/collapse.h"
#include "block/frozen.h"
#include "block/overlay.h"
#include "service/collapses.h"
#include "service/context.h"
#include "service/job-control.h"
#include "service/job-work.h"
#include "service/json.h"
#include "service/merge-record.h"
#include "service/metrics.h"
#include "service/names.h"
#include "store/images.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { REPEAT_MS = 20 };

/* ---- the images ---- */

static struct merge *merges_open(struct service *service, const struct image_row *base,
                                 const struct image_row *upper, struct err *err)
{
    const struct merge_image lower = {base->path, base->format, base->identity};
    const struct merge_image higher = {upper->path, upper->format, upper->identity};
    return merge_open(service->block, &lower, &higher, err);
}

static const struct image_row *row_find(const struct image_row *rows, size_t count,
                                        const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].path, path) == 0)
            return &rows[i];
    return NULL;
}

bool row_is_changing(const struct image_row *row)
{
    return !row->identity || row->device;
}

int merge_child_explain(const char *path, bool is_changing, struct err *err)
{
    if (is_changing && err->code == ErrOpenFileFailed && err->errnum == ENOENT)
        err_set(err, ErrDeviceInUse, 0, "image '%s' is being made, or removed", path);
    return -1;
}

/* Calls `each` for the images that stand on upper. DeviceInUse: one of them is not there yet, or
 * its row is there still. */
static int children_each(struct merge *merge, const struct image_row *rows, size_t count,
                         const char *upper,
                         int (*each)(struct merge *, const struct merge_image *, struct err *),
                         struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct merge_image child = {rows[i].path, rows[i].format, rows[i].identity};
        if (rows[i].backing && strcmp(rows[i].backing, upper) == 0 && each(merge, &child, err) != 0)
            return merge_child_explain(child.path, row_is_changing(&rows[i]), err);
    }
    return 0;
}

/* ---- recording ---- */

/* The same of a merge that no other job drops: 0; -1. */
static int merge_save(struct service *service, const struct job_row *job,
                      const struct merge_row *row,
                      int query(struct store_transaction *, const struct merge_row *, struct err *),
                      struct err *err)
{
    return merge_record(service, job, row, query, err) < 0 ? -1 : 0;
}

/* 0; 1: it was only planned, and another job has dropped it, since this one has ended; -1. */
static int merge_enter(struct service *service, const struct job_row *job, struct merge_row *row,
                       enum merge_stage stage, struct err *err)
{
    assert(stage == row->stage + 1); /* the diagram */
    row->stage = stage;
    int ret = merge_record(service, job, row, store_merge_update_stage, err);
    return ret > 0 && stage != MERGE_COPYING ? 0 : ret;
}

/* ---- pushing ---- */

static int push_check_space(struct merge *merge, struct err *err)
{
    struct merge_size size;
    return merge_measure(merge, &size, err) != 0
               ? -1
               : job_work_check_space(size.new_bytes, size.free_bytes, err);
}

struct push {
    struct service *service;
    struct merge *merge;
    const struct job_row *job;
    struct merge_row *row;
};

static int push_piece(void *context, uint64_t *offset, uint64_t *bytes, struct err *err)
{
    const struct push *push = context;
    int ret = merge_copy(push->merge, offset, bytes, err);
    if (ret >= 0)
        push->row->pushed_bytes += *bytes;
    return ret;
}

/* What was pushed is durable, and recorded. */
static int push_save(void *context, uint64_t offset, enum job_save why, struct err *err)
{
    (void)why;
    const struct push *push = context;
    if (merge_flush(push->merge, err) != 0)
        return -1;
    push->row->offset_bytes = offset;
    return merge_save(push->service, push->job, push->row, store_merge_update_offset, err);
}

/* 0: all is pushed; 1: stopped. */
static int push_copy(struct service *service, struct merge *merge, struct job_row *job,
                     struct merge_row *row, struct err *err)
{
    struct push push = {service, merge, job, row};
    const struct job_work work = {&push, push_piece, push_save, NULL};
    return job_work_run(service, job, &work, row->offset_bytes, err);
}

/* Somebody who opens a chain with the image has a claim of his own for a moment. 0; 1: stopped. */
static int push_begin(struct service *service, struct merge *merge, struct err *err)
{
    int ret = 0;
    for (unsigned tries = 0; ret == 0 && merge_begin(merge, err) != 0; tries++)
        ret = job_control_await_use(service->job_control, tries, err);
    return ret;
}

static int merge_push(struct service *service, struct merge *merge, struct job_row *job,
                      struct merge_row *row, struct err *err)
{
    int ret = 0;
    if (row->stage == MERGE_PLANNED)
        ret = push_check_space(merge, err) != 0
                  ? -1
                  : merge_enter(service, job, row, MERGE_COPYING, err);
    if (ret == 0)
        ret = push_begin(service, merge, err);
    if (ret != 0)
        return ret;
    ret = push_copy(service, merge, job, row, err);
    if (ret == 0)
        ret = merge_enter(service, job, row, MERGE_COPIED, err);
    if (ret == 0)
        return 0;
    struct err ignored;
    merge_end(merge, &ignored);
    return ret;
}

/* ---- taking its place ---- */

/* The headers of all that stands on upper, and the open chains. 1: a group has to end first. */
static int redirect_try(struct service *service, struct merge *merge, const struct merge_row *row,
                        struct err *err)
{
    struct image_row *rows;
    size_t count;
    merge_await_clones(merge); /* they have the image that they make to themselves */
    if (store_image_tree(service->store, row->upper, &rows, &count, err) != 0)
        return -1;
    int ret = children_each(merge, rows, count, row->upper, merge_rename, err);
    image_rows_free(rows, count);
    return ret ? ret : merge_redirect(merge, err);
}

/* An image of a device that is being closed is in use for a moment more; one that is being made or
 * removed is there soon, or its row goes. With storage that hangs that takes as long as it hangs:
 * others run meanwhile. Another program may keep an image for ever. */
static int merge_take_place(struct service *service, struct merge *merge, const struct job_row *job,
                            struct merge_row *row, struct err *err)
{
    int ret;
    for (unsigned tries = 0; (ret = redirect_try(service, merge, row, err)) != 0; tries++) {
        if (ret > 0)
            err_set(err, ErrDeviceInUse, 0, "a device with image '%s' is held by a group",
                    row->upper);
        ret = job_control_await_use(service->job_control, tries, err);
        if (ret != 0)
            return ret;
    }
    metrics_count_redirect(service->metrics, merge_locked_us(merge));
    if (merge_save(service, job, row, store_merge_redirect, err) != 0)
        return -1;
    row->stage = MERGE_REDIRECTED;
    return 0;
}

/* From `planned`, `copying` or `copied` to `redirected`. */
static int merge_run(struct service *service, struct merge *merge, struct job_row *job,
                     struct merge_row *row, struct err *err)
{
    bool is_begun = row->stage < MERGE_COPIED;
    int ret = is_begun ? merge_push(service, merge, job, row, err) : 0;
    if (ret)
        return ret;
    ret = merge_take_place(service, merge, job, row, err);
    struct err ending;
    int ended = is_begun ? merge_end(merge, ret ? &ending : err) : 0;
    return ret ? ret : ended;
}

/* ---- the live top of a device ---- */

/* It is as if it had never been planned. 0; -1. */
static int collapse_drop(struct service *service, const struct job_row *job, struct merge_row *row,
                         const char *why, struct err *err)
{
    assert(row->stage == MERGE_PLANNED); /* nothing was written */
    log_info("image '%s' is not merged into '%s': %s", row->upper, row->base, why);
    if (merge_record(service, job, row, store_merge_drop, err) < 0)
        return -1;
    row->stage = MERGE_DONE;
    return 0;
}

/* Until the first byte is written, nothing is lost by doing without it. As merges_carry_out(). */
static int collapse_enter(struct service *service, struct merge *merge, struct job_row *job,
                          struct merge_row *row, struct err *err)
{
    if (row->stage != MERGE_PLANNED)
        return 0;
    if (push_check_space(merge, err) != 0) {
        struct err cause = *err;
        return collapse_drop(service, job, row, cause.message, err);
    }
    int ret = merge_record(service, job, row, store_merge_begin_collapse, err);
    if (ret > 0)
        return collapse_drop(service, job, row, "the top is another one, or is needed", err);
    row->stage = ret == 0 ? MERGE_COPYING : row->stage;
    return ret;
}

static int collapse_run(struct service *service, struct merge *merge, const char *device,
                        struct job_row *job, struct merge_row *row, struct err *err)
{
    int ret = collapse_enter(service, merge, job, row, err);
    return ret || row->stage == MERGE_DONE
               ? ret
               : collapse_carry_out(service, merge, device, job, row, err);
}

/* ---- one attempt ---- */

/* Both images, with a merge; NULL. */
static int merge_open_and_run(struct service *service, struct job_row *job, struct merge_row *row,
                              const struct image_row *base, const struct image_row *upper,
                              struct err *err)
{
    const bool is_live = upper->device && row->stage < MERGE_COPIED;
    int ret = is_live ? collapse_check(service->block, upper->device, err) : 0;
    if (ret)
        return ret < 0 ? -1 : 2;
    struct merge *merge = merges_open(service, base, upper, err);
    if (!merge)
        return err_is_in_use(err) ? 3 : -1;
    ret = is_live ? collapse_run(service, merge, upper->device, job, row, err)
                  : merge_run(service, merge, job, row, err);
    merge_close(merge);
    return ret;
}

/* The device was detached: its top stays as it is. What was copied is beneath it, and nothing else
 * may be put there, so the merge waits for its being attached again (store/merges.h). 0; -1. */
static int collapse_leave(struct service *service, const struct job_row *job, struct merge_row *row,
                          struct err *err)
{
    if (row->stage == MERGE_PLANNED)
        return collapse_drop(service, job, row, "its device was detached", err);
    log_info("image '%s' is merged into '%s' once it is attached again: its device was detached",
             row->upper, row->base);
    return 0;
}

/* By the rows of now. As merges_carry_out(); 2: they are to be read again; 3 and *err: likewise,
 * once an image is in use no more, as that of who closes an old top. */
static int merge_try(struct service *service, struct job_row *job, struct merge_row *row,
                     struct err *err)
{
    struct image_row *rows;
    size_t count;
    if (store_image_tree(service->store, row->upper, &rows, &count, err) != 0)
        return -1;
    const struct image_row *base = row_find(rows, count, row->base);
    const struct image_row *upper = row_find(rows, count, row->upper);
    int ret;
    if ((!base || !upper) && row->stage == MERGE_PLANNED)
        ret = collapse_drop(service, job, row, "one of them is gone", err);
    else if (!base || !upper)
        ret = err_set(err, ErrInternalError, 0, "image '%s' is not in the tree of '%s'", row->base,
                      row->upper);
    else if (upper->is_kept && row->stage < MERGE_COPIED)
        ret = collapse_leave(service, job, row, err);
    else
        ret = merge_open_and_run(service, job, row, base, upper, err);
    image_rows_free(rows, count);
    return ret;
}

/* A live top may be frozen, or have been detached, at any time before it is redirected. */
static int merge_try_until_done(struct service *service, struct job_row *job, struct merge_row *row,
                                struct err *err)
{
    unsigned tries = 0;
    int ret;
    while ((ret = merge_try(service, job, row, err)) != 0) {
        if (ret == 2)
            ret = job_control_sleep(service->job_control, REPEAT_MS);
        else if (ret == 3 || (ret < 0 && row->stage == MERGE_COPYING))
            ret = job_control_await_use(service->job_control, tries++, err);
        if (ret != 0)
            return ret;
    }
    return 0;
}

/* ---- removing ---- */

static const char *json_text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* I3. */
static int file_remove(struct service *service, const cJSON *file, struct err *err)
{
    const char *path = json_text(file, "path"), *format = json_text(file, "format");
    const char *made_by = json_text(file, "made_by"), *identity = json_text(file, "identity");
    unsigned char id[OWNER_ID_BYTES];
    assert(path && format && made_by); /* I3: only what was made goes */
    id_bytes(made_by, id);
    if (block_overlay_discard_known(service->block, path, identity, format, id, err) != 0)
        return -1;
    if (identity)
        block_frozen_file_forget(service->block, identity, path);
    return 0;
}

/* The row was read since it was redirected. */
int merges_remove_files(struct service *service, const struct merge_row *row, struct err *err)
{
    struct err cause;
    CLEANUP(cjson) cJSON *files = row->files ? cJSON_Parse(row->files) : NULL;
    const cJSON *file;
    assert(row->stage == MERGE_REDIRECTED); /* the diagram */
    cJSON_ArrayForEach(file, files) if (file_remove(service, file, &cause) != 0)
    {
        err_set(err, cause.code, 0,
                "all is merged, but %s; this is tried again until the file can be removed",
                cause.message);
        err->errnum = cause.errnum; /* whose text the message has */
        return -1;
    }
    return 0;
}

int merges_carry_out(struct service *service, struct job_row *job, struct merge_row *row,
                     struct err *err)
{
    int ret = 0;
    if (row->stage < MERGE_REDIRECTED)
        ret = row->base ? merge_try_until_done(service, job, row, err)
                        : merge_save(service, job, row, store_merge_redirect, err);
    if (ret == 0 && store_merge_reload(service->store, row, err) < 0) /* which files go */
        ret = -1;
    if (ret != 0 || row->stage != MERGE_REDIRECTED)
        return ret;
    return merges_remove_files(service, row, err) != 0
               ? -1
               : merge_enter(service, job, row, MERGE_DONE, err);
}
