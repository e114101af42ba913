/* SPDX-License-Identifier: Apache-2.0
 *
 * See collapses.h.
 *
 * Invariants:
 *   I1. The row that base is the top is written while changes go to both images, and the one image
 *       is given up only once it is known whether that was recorded. No assert: it is one function.
 *   I2. No offset is recorded: what was copied is the same in both only while changes go to both.
 */
#include "service/collapses.h"

#include "block/collapse.h"
#include "service/context.h"
#include "service/job-control.h"
#include "service/job-work.h"
#include "service/merge-record.h"
#include "service/names.h"
#include "service/unsettled.h"

#include <assert.h>
#include <unistd.h>

enum { STORE_WAIT_MS = 100, STORE_TRIES_AT_END = 20 };

struct mirroring {
    struct service *service;
    struct collapse *collapse;
    const char *device; /* under whose name the top was attached last */
    struct job_row *job;
    struct merge_row *row;
    bool is_wanted; /* the device, by somebody else */
};

static int mirroring_piece(void *context, uint64_t *offset, uint64_t *bytes, struct err *err)
{
    struct mirroring *mirroring = context;
    int ret = collapse_copy(mirroring->collapse, offset, bytes, err);
    mirroring->is_wanted = ret == 2;
    return ret < 0 ? -1 : ret != 0;
}

static bool mirroring_is_due(void *context)
{
    const struct mirroring *mirroring = context;
    return collapse_is_wanted(mirroring->collapse);
}

/* The top may have grown since it was measured, or be copied again. */
static int mirroring_save(void *context, uint64_t offset, enum job_save why, struct err *err)
{
    const struct mirroring *mirroring = context;
    struct job_row *job = mirroring->job;
    (void)offset, (void)why;
    assert(mirroring->row->offset_bytes == 0); /* I2 */
    if (job->done_bytes > job->total_bytes)
        job->done_bytes = job->total_bytes;
    if (collapse_flush(mirroring->collapse, err) != 0)
        return -1;
    return merge_record(mirroring->service, job, mirroring->row, store_merge_update_offset, err) < 0
               ? -1
               : 0;
}

/* ---- taking the place ---- */

/* Nobody knows whether the row was written, until the store can be read again: I1. A daemon that
 * ends meanwhile leaves the thread. *row is as it was read. */
static void collapse_await_store(struct service *service, struct merge_row *row)
{
    struct err err;
    for (int tries = 0; unsettled_resolve(service, &err) != 0 ||
                        store_merge_reload(service->store, row, &err) < 0;) {
        if (!job_control_ends(service->job_control))
            job_control_rest(service->job_control, STORE_WAIT_MS);
        else if (++tries < STORE_TRIES_AT_END)
            usleep(STORE_WAIT_MS * 1000);
        else
            for (;;)
                pause();
    }
}

/* 0: base is the top; 2: somebody else comes first; -1. The name of the device is held. */
static int collapse_record(struct mirroring *mirroring, struct err *err)
{
    struct merge_row *row = mirroring->row;
    int ret = collapse_hold(mirroring->collapse, err);
    if (ret)
        return ret;
    ret = merge_record(mirroring->service, mirroring->job, row, store_merge_collapse, err);
    if (ret == 0)
        row->stage = MERGE_REDIRECTED;
    else if (ret < 0 && unsettled_is_due(err))
        collapse_await_store(mirroring->service, row);
    if (row->stage != MERGE_REDIRECTED) {
        collapse_release(mirroring->collapse);
        return ret < 0 ? -1 : 2;
    }
    collapse_commit(mirroring->collapse);
    return 0;
}

/* Who detaches the device holds its name, and waits for the collapse to end. */
static int collapse_take_place(struct mirroring *mirroring, struct err *err)
{
    struct name_hold hold = {.service = mirroring->service, .name = mirroring->device};
    if (!name_hold_try(&hold))
        return 2;
    int ret = collapse_record(mirroring, err);
    name_hold_end(&hold);
    return ret;
}

static int collapse_mirror(struct mirroring *mirroring, struct err *err)
{
    const struct job_hurry hurry = {mirroring_is_due, mirroring};
    const struct job_work work = {mirroring, mirroring_piece, mirroring_save, &hurry};
    int ret = job_work_run(mirroring->service, mirroring->job, &work, 0, err);
    if (ret == 0)
        ret = mirroring->is_wanted ? 2 : collapse_take_place(mirroring, err);
    return ret;
}

int collapse_carry_out(struct service *service, struct merge *merge, const char *device,
                       struct job_row *job, struct merge_row *row, struct err *err)
{
    struct mirroring mirroring = {.service = service, .device = device, .job = job, .row = row};
    struct err ending;
    assert(row->stage == MERGE_COPYING); /* the diagram */
    int ret = collapse_begin(merge, &mirroring.collapse, err);
    if (ret > 0)
        ret = 2;
    if (ret == 0)
        ret = collapse_mirror(&mirroring, err);
    if (mirroring.collapse)
        (void)collapse_end(mirroring.collapse, &ending); /* else the next merge of base goes on */
    return ret;
}
