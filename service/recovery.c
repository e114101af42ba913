/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery, in this order:
 *
 *   row                      action                                                  then the row
 *   frozen file              it is protected                                         stays
 *   device CREATING          its image is removed, if the creation made it           is deleted
 *   device DETACHING         its top is removed, if it was to go; once it is there   is deleted
 *   device ATTACHED          the marking name of its image is removed                stays
 *   group aborting           overlays that carry the group's id are removed          aborted
 *   group preparing          likewise                                                aborted
 *   group committing,        its frozen images are made durable, marking names      committed:
 *   oldest first             of its overlays are removed                             tops move
 *   group committed          files that an older daemon froze are protected          stays
 *   device ATTACHED          its chain is opened from the recorded top, or it        stays
 *                            is a failed device; a chain that changed is recorded
 *   image not complete       its chain is opened, to list it                         is complete
 *   group committed          its frozen members are offered                          stays
 *   group that ended lately  marking names of its overlays are removed               stays
 *   merge redirected, of a   its files are removed by the leftovers' thread          stays
 *   job that has ended
 *   plan due                 the tree is planned by the leftovers' thread            is deleted
 *
 * Devices are opened side by side, and so are frozen images made durable, by a bounded number of
 * threads; everything else is done by one.
 *
 * Groups are settled before devices are opened, because they decide which image is a device's top.
 * Removal is idempotent and precedes the change of the row, so a killed recovery is repeated by the
 * next start. An image that cannot be examined keeps its row and is retried (leftovers.h). Journals
 * of images that no device has opened are replayed last.
 */
#include "service/recovery.h"

#include "base/log.h"
#include "base/parallel.h"
#include "service/context.h"
#include "service/deletes.h"
#include "service/device-change.h"
#include "service/devices.h"
#include "service/events.h"
#include "service/frozen-files.h"
#include "service/group-record.h"
#include "service/group-settlement.h"
#include "service/images.h"
#include "service/left-files.h"
#include "service/names.h"

#include <stdio.h>
#include <string.h>

#define RECOVERY_PAGE_ROWS 1000
/* Longer than file systems keep changes of directories in memory (btrfs: 30 s). */
#define TIDY_US (120 * 1000000ULL)

/* ---- devices ---- */

static int device_finish(struct service *service, const struct device_row *row, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    struct err failure;
    if (row->state != DEVICE_ROW_ATTACHED) {
        log_warning(row->state == DEVICE_ROW_CREATING
                        ? "device '%s' was not created completely; it is removed"
                        : "the detach of device '%s' was interrupted; it is completed",
                    row->name);
        return device_row_finish(service, row, err);
    }
    id_bytes(row->id, id);
    if (block_image_keep(service->block, row->image, id, &failure) != 0)
        log_error("device '%s': %s", row->name, failure.message);
    return 0;
}

struct device_page {
    struct service *service;
    const struct device_row *rows;
};

static void device_restore_at(void *context, size_t position)
{
    const struct device_page *page = context;
    if (page->rows[position].state == DEVICE_ROW_ATTACHED)
        devices_restore(page->service, &page->rows[position]);
}

/* Chains are opened side by side: storage that is slow delays its own devices first. */
static int devices_restore_page(struct service *service, const struct device_row *rows,
                                size_t count, struct err *err)
{
    (void)err;
    struct device_page page = {service, rows};
    parallel_run(count, device_restore_at, &page);
    return 0;
}

static int devices_finish_page(struct service *service, const struct device_row *rows, size_t count,
                               struct err *err)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = device_finish(service, &rows[i], err);
    return result;
}

/* Calls `each` for all devices' rows, page by page; it may delete rows. */
static int devices_each(struct service *service,
                        int (*each)(struct service *, const struct device_row *, size_t count,
                                    struct err *),
                        struct err *err)
{
    char after[DEVICE_NAME_MAX + 1] = "";
    size_t count;
    do {
        struct device_row *rows;
        if (store_device_list(service->store, *after ? after : NULL, RECOVERY_PAGE_ROWS, &rows,
                              &count, err) != 0)
            return -1;
        int result = each(service, rows, count, err);
        if (count > 0)
            snprintf(after, sizeof(after), "%s", rows[count - 1].name);
        device_rows_free(rows, count);
        if (result != 0)
            return -1;
    } while (count == RECOVERY_PAGE_ROWS);
    return 0;
}

/* ---- groups ---- */

static int group_settle_row(struct service *service, struct group_row *row, void *context,
                            struct err *err)
{
    (void)context;
    log_warning("group %s was not finished; it is %s", row->id,
                row->state == GROUP_COMMITTING ? "committed" : "aborted");
    return settlement_recover(service, row, err);
}

static uint64_t group_committed_at(const struct group_row *row)
{
    return row->created_at_us + (row->has_duration ? row->duration_us : 0);
}

static int group_adopt(struct service *service, struct group_row *row, void *context,
                       struct err *err)
{
    (void)context;
    return frozen_files_adopt(service, row, err);
}

/* A power failure may bring back marking names that were removed just before it, whatever was
 * synced. */
static int group_tidy(struct service *service, struct group_row *row, void *context,
                      struct err *ignored)
{
    (void)ignored;
    const uint64_t *newest_us = context;
    if (group_committed_at(row) + TIDY_US < *newest_us)
        return 0;
    unsigned char id[OWNER_ID_BYTES];
    struct err err;
    id_bytes(row->id, id);
    for (size_t i = 0; i < row->member_count; i++)
        if (block_image_keep(service->block, row->members[i].snapshot_file, id, &err) != 0)
            log_error("group %s: %s", row->id, err.message);
    return 0;
}

static int group_offer(struct service *service, struct group_row *row, void *context,
                       struct err *err)
{
    group_tidy(service, row, context, err);
    for (size_t i = 0; i < row->member_count; i++)
        group_offer_member(service, row, i);
    return 0;
}

/* Calls `each` for every group in `state`, oldest first, page by page; `each` may change that
 * group's state. */
static int groups_each(struct service *service, enum group_state state,
                       int (*each)(struct service *, struct group_row *, void *context,
                                   struct err *),
                       void *context, struct err *err)
{
    uint64_t after = 0;
    size_t count;
    do {
        struct group_row *rows;
        if (store_group_list_oldest(service->store, state, after, RECOVERY_PAGE_ROWS, &rows, &count,
                                    err) != 0)
            return -1;
        int result = 0;
        for (size_t i = 0; i < count && result == 0; i++) {
            after = rows[i].sequence;
            result = each(service, &rows[i], context, err);
        }
        group_rows_free(rows, count);
        if (result != 0)
            return -1;
    } while (count > 0);
    return 0;
}

/* Tidies up after groups that are gone, of which the store keeps some. */
static int groups_gone_tidy(struct service *service, uint64_t *newest_us, struct err *err)
{
    const enum group_state states[] = {GROUP_DELETING, GROUP_DELETED, GROUP_ABORTED};
    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
        if (groups_each(service, states[i], group_tidy, newest_us, err) != 0)
            return -1;
    return 0;
}

int recovery_run(struct service *service, struct err *err)
{
    uint64_t newest_us = 0; /* when the last group was committed or given up */
    if (frozen_files_protect(service, err) != 0 || delete_replan_due(service, err) != 0 ||
        devices_each(service, devices_finish_page, err) != 0 ||
        groups_each(service, GROUP_ABORTING, group_settle_row, NULL, err) != 0 ||
        groups_each(service, GROUP_PREPARING, group_settle_row, NULL, err) != 0 ||
        groups_each(service, GROUP_COMMITTING, group_settle_row, NULL, err) != 0 ||
        groups_each(service, GROUP_COMMITTED, group_adopt, NULL, err) != 0 ||
        store_group_newest(service->store, &newest_us, err) != 0 ||
        groups_gone_tidy(service, &newest_us, err) != 0 ||
        devices_each(service, devices_restore_page, err) != 0)
        return -1;
    block_journals_finish(service->block);
    if (images_complete(service, err) != 0 ||
        groups_each(service, GROUP_COMMITTED, group_offer, &newest_us, err) != 0)
        return -1;
    if (left_files_find(service, err) != 0)
        return -1;
    return event_report(service, &origin_daemon, EVENT_RECOVERY_DONE, NULL, NULL, err);
}
