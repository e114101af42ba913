/* SPDX-License-Identifier: Apache-2.0
 *
 * See labels.h.
 */
#include "service/labels.h"

#include "service/context.h"
#include "service/events.h"
#include "service/snapshot-groups.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void version_format(const char *id, uint64_t revision, char text[VERSION_BYTES])
{
    snprintf(text, VERSION_BYTES, "%.8s-%" PRIu64, id, revision);
}

int condition_check(const struct condition *condition, const char *id, uint64_t revision,
                    struct err *err)
{
    char version[VERSION_BYTES];
    version_format(id, revision, version);
    if (!condition || condition->allows(condition->context, version))
        return 0;
    return err_set(err, ErrPreconditionFailed, 0,
                   "it has changed, or has not the version that the request names; get it again "
                   "and decide anew");
}

/* Merges into *labels, which is replaced. 1; 0: they are the same as before; -1. */
static int labels_merge(const struct labels_change *change, char **labels, struct err *err)
{
    char *merged = change->merge(change->context, *labels, err);
    if (!merged)
        return -1;
    bool is_same = strcmp(*labels, merged) == 0;
    free(*labels);
    *labels = merged;
    return is_same ? 0 : 1;
}

/* 1: done; 0: the row was changed meanwhile; -1. */
static int group_labels_try(struct service *service, const char *id_or_name,
                            const struct labels_change *change, struct group_row *row,
                            struct err *err)
{
    if (snapshot_groups_get(service, id_or_name, row, err) != 0 ||
        condition_check(change->condition, row->id, row->revision, err) != 0)
        return -1;
    int merged = labels_merge(change, &row->labels, err);
    if (merged <= 0)
        return merged < 0 ? -1 : 1;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? store_group_update_labels(transaction, row, err) : -1;
    if (changed <= 0)
        return changed;
    if (event_record(transaction, change->origin, EVENT_GROUP_UPDATED, NULL, row->id, err) != 0 ||
        store_commit(steal(transaction), err) != 0)
        return -1;
    row->revision++;
    return 1;
}

int group_labels_change(struct service *service, const char *id_or_name,
                        const struct labels_change *change, struct group_row *row, struct err *err)
{
    int done = 0;
    *row = (struct group_row){0};
    while (done == 0) {
        group_row_clear(row);
        done = group_labels_try(service, id_or_name, change, row, err);
    }
    return done > 0 ? 0 : -1;
}
