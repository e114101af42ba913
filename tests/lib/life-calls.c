/* SPDX-License-Identifier: Apache-2.0
 *
 * See life-calls.h.
 */
#include "tests/lib/life-calls.h"

#include "block/device/exports.h"
#include "block/io.h"
#include "service/copies.h"
#include "service/deletes.h"
#include "service/device-update.h"
#include "service/devices.h"
#include "service/holds.h"
#include "service/snapshot-groups.h"

#include <stdio.h>
#include <string.h>

static unsigned char bytes_written[LIFE_VIEW_BYTES];

static const char hold_name[] = "backup";

static int ask_add(struct living *living, const struct life_change *change, struct err *err)
{
    const struct life *life = living->life;
    const struct life_group *group = &life->groups[change->group];
    bool is_clone = change->kind == LIFE_CLONE, is_new = change->kind == LIFE_CREATE;
    struct device_request wanted = {.name = change->name,
                                    .image = change->file,
                                    .labels = "{}",
                                    .origin = &origin_daemon,
                                    .overlay = change->shape};
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    enum device_part part;
    if (is_clone)
        wanted.from = (struct device_from){group->name, group->members[change->member].name};
    else
        wanted.format = change->is_raw ? "raw" : "qcow2";
    if (is_new) {
        wanted.create = true;
        wanted.size_bytes = change->length;
        wanted.created.cluster_bytes = change->is_raw ? 0 : change->shape.cluster_bytes;
    }
    return devices_add(&living->service, &wanted, &view, &part, err);
}

static int ask_write(struct living *living, const struct life_change *change, struct err *err)
{
    int ret;
    struct device *device = life_use(living, change->name);
    life_data(change, bytes_written);
    if (change->kind == LIFE_WRITE)
        ret = device_write(device, bytes_written, change->offset, change->length, 0);
    else if (change->kind == LIFE_ZERO)
        ret = device_zero(device, change->offset, change->length,
                          change->keeps_space ? IO_NO_HOLE : 0);
    else
        ret = device_discard(device, change->offset, change->length, 0);
    if (ret == 0 && change->is_flushed)
        ret = device_flush(device);
    export_unuse(living->service.block, device);
    return ret ? err_set(err, ErrInternalError, -ret, "%s cannot be written", change->name) : 0;
}

static int ask_take(struct living *living, const struct life_change *change, struct err *err)
{
    char files[LIFE_MEMBERS_MAX][LIFE_NAME_BYTES + 24];
    struct group_member members[LIFE_MEMBERS_MAX] = {0};
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    const struct snapshot_group_request request = {.name = change->name,
                                                   .labels = "{}",
                                                   .origin = &origin_daemon,
                                                   .count = change->count,
                                                   .members = members};
    for (size_t i = 0; i < change->count; i++) {
        snprintf(files[i], sizeof(files[i]), "%s-%zu", change->file, i);
        members[i].device = living->life->disks[change->disks[i]].name;
        members[i].snapshot_file = change->has_files ? files[i] : NULL;
    }
    return snapshot_groups_take(&living->service, &request, NULL, &row, err);
}

/* As service/http/group-body.c makes the request. */
static int ask_roll_back(struct living *living, const struct life_change *change, struct err *err)
{
    struct group_base bases[LIFE_MEMBERS_MAX] = {0};
    struct group_member members[LIFE_MEMBERS_MAX] = {0};
    CLEANUP_BY(group_row_clear) struct group_row row = {0}, target = {0};
    if (snapshot_groups_get_committed(&living->service, living->life->groups[change->group].name,
                                      &target, err) != 0)
        return -1;
    const struct snapshot_group_request request = {.name = change->name,
                                                   .labels = "{}",
                                                   .rolled_back_to = target.id,
                                                   .origin = &origin_daemon,
                                                   .count = target.member_count,
                                                   .members = members};
    for (size_t i = 0; i < target.member_count; i++) {
        const struct member_row *member = &target.members[i];
        bases[i] = (struct group_base){.image = member->backing_image ? member->backing_image
                                                                      : member->backing_file,
                                       .format = member->backing_format,
                                       .identity = member->backing_identity};
        members[i] = (struct group_member){.device = member->device, .base = &bases[i]};
    }
    return snapshot_groups_take(&living->service, &request, NULL, &row, err);
}

static int ask_job(struct living *living, struct life_change *change, struct err *err)
{
    const struct life_group *group = &living->life->groups[change->group];
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    enum copy_part part;
    const struct copy_request request = {.group = group->name,
                                         .device = group->members[change->member].name,
                                         .image = change->file,
                                         .format = change->is_raw ? "raw" : "qcow2",
                                         .origin = &origin_daemon};
    int ret = change->kind == LIFE_COPY
                  ? copies_begin(&living->service, &request, &job, &part, err)
                  : delete_begin(&living->service, group->name, NULL, &origin_daemon, &job, err);
    memcpy(change->job, job.id, sizeof(change->job));
    return ret;
}

static int resize_apply(void *context, struct device_row *row, struct err *err)
{
    (void)context, (void)row, (void)err;
    return 0;
}

static int ask_resize(struct living *living, const struct life_change *change, struct err *err)
{
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    const struct device_changes resize = {
        .origin = &origin_daemon, .size_bytes = change->length, .apply = resize_apply};
    return devices_change(&living->service, change->name, &resize, &view, err);
}

static int ask_hold(struct living *living, const struct life_change *change, struct err *err)
{
    bool is_new;
    const char *group = living->life->groups[change->group].name;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    return change->kind == LIFE_HOLD
               ? group_hold(&living->service, group, hold_name, NULL, &origin_daemon, &row, &is_new,
                            err)
               : group_release(&living->service, group, hold_name, NULL, &origin_daemon, err);
}

static int ask(struct living *living, struct life_change *change, struct err *err)
{
    const struct device_detach how = {.deletes_top = change->deletes_file};
    switch (change->kind) {
    case LIFE_CREATE:
    case LIFE_ATTACH:
    case LIFE_CLONE:
        return ask_add(living, change, err);
    case LIFE_TAKE:
        return ask_take(living, change, err);
    case LIFE_ROLL_BACK:
        return ask_roll_back(living, change, err);
    case LIFE_DELETE:
    case LIFE_COPY:
        return ask_job(living, change, err);
    case LIFE_RESIZE:
        return ask_resize(living, change, err);
    case LIFE_DETACH:
        return devices_remove(&living->service, change->name, &how, &origin_daemon, NULL, err);
    case LIFE_HOLD:
    case LIFE_RELEASE:
        return ask_hold(living, change, err);
    default:
        return ask_write(living, change, err);
    }
}

int life_ask(struct living *living, struct life_change *change, struct err *err)
{
    char name[LIFE_EXPORT_BYTES];
    struct device *user = NULL;
    if (change->has_user && change->kind == LIFE_DELETE) {
        life_member_export(&living->life->groups[change->group], change->member, name);
        user = life_use(living, name);
    } else if (change->has_user && change->kind == LIFE_DETACH) {
        user = life_use(living, change->name);
    }
    int ret = ask(living, change, err);
    if (user)
        export_unuse(living->service.block, user);
    return ret;
}
