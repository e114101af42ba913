/* SPDX-License-Identifier: Apache-2.0
 *
 * See left-files.h.
 *
 *   group     once all files of a merge are removed
 *   deleting  its DELETE is repeated: the new job takes the merge over, finds nothing to remove,
 *             and goes on with what else there is to do
 *   deleted   the merge is done
 *
 * A merge that another job has by now is that one's.
 */
#include "service/left-files.h"

#include "service/context.h"
#include "service/deletes.h"
#include "service/leftovers.h"
#include "service/merges.h"
#include "store/groups.h"

#include <string.h>

static int merge_record_done(struct service *service, struct merge_row *merge, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    merge->stage = MERGE_DONE;
    if (!transaction || store_merge_update_stage(transaction, merge, err) < 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* Of a group that is deleting: a job does the rest. */
static int group_go_on(struct service *service, const char *group_id, struct err *err)
{
    struct job_row job;
    if (delete_begin(service, group_id, NULL, &origin_daemon, &job, err) != 0)
        return -1;
    job_row_clear(&job);
    return 0;
}

/* Its files are removed. */
static int merge_settle(struct service *service, const struct job_row *job, struct merge_row *merge,
                        struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    const char *group_id = merge->group_id ? merge->group_id : job->group_id;
    if (store_group_get(service->store, group_id, &group, err) != 0 &&
        err->code != ErrGroupNotFound)
        return -1;
    return group.state == GROUP_DELETING ? group_go_on(service, group_id, err)
                                         : merge_record_done(service, merge, err);
}

/* Another job, of another group, has taken over what this one had left, and is done with it. */
static int job_retry(struct service *service, const struct job_row *job, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP_BY(job_row_clear) struct job_row last = {0};
    if (store_group_get(service->store, job->group_id, &group, err) != 0)
        return err->code == ErrGroupNotFound ? 0 : -1;
    if (group.state != GROUP_DELETING)
        return 0;
    int found = store_job_get_of_group(service->store, job->group_id, &last, err);
    bool is_last = found > 0 && strcmp(last.id, job->id) == 0 && job->state == JOB_FAILED;
    return found < 0 ? -1 : is_last ? group_go_on(service, job->group_id, err) : 0;
}

/* All files go before anything is recorded: a new job would fail at the first one that stays. */
static int merges_retry(struct service *service, struct job_row *job, struct err *err)
{
    for (size_t i = 0; i < job->merge_count; i++)
        if (job->merges[i].stage == MERGE_REDIRECTED &&
            merges_remove_files(service, &job->merges[i], err) != 0)
            return -1;
    for (size_t i = 0; i < job->merge_count; i++)
        if (job->merges[i].stage == MERGE_REDIRECTED &&
            merge_settle(service, job, &job->merges[i], err) != 0)
            return -1;
    return 0;
}

static bool leftover_retry(struct service *service, const struct leftover *leftover)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    int found = store_job_get(service->store, leftover->id, &job, &err);
    if (found <= 0)
        return found == 0;
    return merges_retry(service, &job, &err) == 0 && job_retry(service, &job, &err) == 0;
}

void left_files_keep(struct service *service, const struct job_row *job)
{
    struct err cause;
    const struct merge_row *merge = job->merges, *end = merge + job->merge_count;
    while (merge < end && merge->stage != MERGE_REDIRECTED)
        merge++;
    if (merge == end)
        return;
    err_set(&cause, ErrOpenFileFailed, 0, "job %s has left image '%s'", job->id, merge->upper);
    leftovers_add(service, leftover_retry, job->id, NULL, &cause);
}

int left_files_find(struct service *service, struct err *err)
{
    uint64_t after = 0;
    for (;;) {
        CLEANUP_BY(job_row_clear) struct job_row job = {0};
        int found = store_job_next_left(service->store, after, &job, err);
        if (found <= 0)
            return found;
        after = job.sequence;
        left_files_keep(service, &job);
    }
}
