/* SPDX-License-Identifier: Apache-2.0
 *
 * See holds.h. A change reads the group, and is made only if its revision is still the one that was
 * read; else it begins again (labels.h). So what was read of the group's holds is right.
 */
#include "service/holds.h"

#include "service/clock.h"
#include "service/context.h"
#include "service/events.h"
#include "service/labels.h"
#include "service/names.h"
#include "service/snapshot-groups.h"
#include "store/holds.h"

#include <stdio.h>
#include <string.h>

struct hold_change {
    const char *id_or_name, *name;
    bool is_release;
    const struct condition *condition;
    const struct origin *origin;
};

static int hold_check_name(const char *name, struct err *err)
{
    if (name_is_valid(name, GROUP_NAME_MAX))
        return 0;
    return err_set(err, ErrInvalidParameter, 0,
                   "a hold's name has 1 to %d of the characters A-Z a-z 0-9 . _ - and begins with "
                   "a letter or digit",
                   GROUP_NAME_MAX);
}

/* `row->holds` is a JSON array of names, none of which needs an escape. */
static bool hold_is_there(const struct group_row *row, const char *name)
{
    char quoted[GROUP_NAME_MAX + 3];
    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    return row->holds && strstr(row->holds, quoted);
}

static size_t holds_count(const struct group_row *row)
{
    size_t count = row->holds ? 1 : 0;
    for (const char *comma = row->holds; comma && (comma = strchr(comma, ',')); comma++)
        count++;
    return count;
}

/* Whether the group can have one more hold: none would keep what is being deleted. */
static int hold_check_room(const struct group_row *row, struct err *err)
{
    if (row->state == GROUP_ABORTING || row->state == GROUP_ABORTED || row->state == GROUP_DELETED)
        return err_set(err, ErrGroupNotFound, 0,
                       "snapshot group '%s' was %s, and has nothing to hold", row->id,
                       row->state == GROUP_DELETED ? "deleted" : "aborted");
    if (row->state == GROUP_DELETING)
        return err_set(err, ErrGroupDeleting, 0, "snapshot group '%s' is being deleted", row->name);
    if (holds_count(row) >= STORE_HOLDS_MAX)
        return err_set(err, ErrTooManyHolds, 0, "snapshot group '%s' has %d holds", row->name,
                       STORE_HOLDS_MAX);
    return 0;
}

static int hold_write(struct service *service, const struct hold_change *change,
                      const struct group_row *row, struct err *err)
{
    char detail[GROUP_NAME_MAX + 16];
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction)
        return -1;
    int changed = change->is_release
                      ? store_hold_delete(transaction, row, change->name, err)
                      : store_hold_insert(transaction, row, change->name, clock_now_us(), err);
    if (changed <= 0)
        return changed;
    snprintf(detail, sizeof(detail), "{\"hold\":\"%s\"}", change->name);
    if (event_record_group(transaction, change->origin,
                           change->is_release ? EVENT_GROUP_RELEASED : EVENT_GROUP_HELD, row->id,
                           detail, err) != 0)
        return -1;
    return store_commit(steal(transaction), err) == 0 ? 1 : -1;
}

/* 1: done, and *has_changed tells whether there was anything to do; 0: the row was changed
 * meanwhile; -1. */
static int hold_try(struct service *service, const struct hold_change *change,
                    struct group_row *row, bool *has_changed, struct err *err)
{
    if (snapshot_groups_get(service, change->id_or_name, row, err) != 0 ||
        condition_check(change->condition, row->id, row->revision, err) != 0)
        return -1;
    *has_changed = hold_is_there(row, change->name) == change->is_release;
    if (!*has_changed)
        return 1;
    if (!change->is_release && hold_check_room(row, err) != 0)
        return -1;
    return hold_write(service, change, row, err);
}

static int hold_apply(struct service *service, const struct hold_change *change,
                      struct group_row *row, bool *has_changed, struct err *err)
{
    int done = 0;
    *row = (struct group_row){0};
    if (hold_check_name(change->name, err) != 0)
        return -1;
    while (done == 0) {
        group_row_clear(row);
        done = hold_try(service, change, row, has_changed, err);
    }
    return done > 0 ? 0 : -1;
}

int group_hold(struct service *service, const char *id_or_name, const char *name,
               const struct condition *condition, const struct origin *origin,
               struct group_row *row, bool *is_new, struct err *err)
{
    const struct hold_change change = {id_or_name, name, false, condition, origin};
    if (hold_apply(service, &change, row, is_new, err) != 0)
        return -1;
    if (!*is_new)
        return 0;
    char id[STORE_ID_CHARS + 1];
    memcpy(id, row->id, sizeof(id));
    group_row_clear(row);
    return store_group_get(service->store, id, row, err);
}

int group_release(struct service *service, const char *id_or_name, const char *name,
                  const struct condition *condition, const struct origin *origin, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    const struct hold_change change = {id_or_name, name, true, condition, origin};
    bool has_changed;
    return hold_apply(service, &change, &row, &has_changed, err);
}
