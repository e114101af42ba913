/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-request.h.
 */
#include "service/group-request.h"

#include "service/clock.h"
#include "service/context.h"
#include "service/default-files.h"
#include "service/events.h"
#include "service/names.h"
#include "store/devices.h"
#include "store/groups.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static int out_of_memory(struct err *err)
{
    return err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
}

/* ---- members with their defaults ---- */

void group_members_clear(struct group_members *members)
{
    for (size_t i = 0; members->list && i < members->request->count; i++)
        if (!members->request->members[i].snapshot_file)
            free((char *)members->list[i].snapshot_file);
    free(members->list);
}

/* The default file of that member, as far as it is known now. */
static char *member_choose_file(struct service *service, const struct group_members *members,
                                size_t position, struct err *err)
{
    const struct snapshot_group_request *request = members->request;
    return default_file_choose(service, request->members[position].device,
                               request->name ? request->name : members->id, err);
}

int group_members_fill(struct service *service, struct group_members *members, const char *id,
                       struct err *err)
{
    size_t count = members->request->count;
    members->id = id;
    members->list = calloc(count + 1, sizeof(*members->list));
    if (!members->list)
        return out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct group_member *member = &members->list[i];
        *member = members->request->members[i];
        if (!member->format)
            member->format = "qcow2";
        if (!member->snapshot_file)
            member->snapshot_file = member_choose_file(service, members, i, err);
        if (!member->snapshot_file)
            return -1;
    }
    return 0;
}

/* Whether that member failed because its default file has come meanwhile; it has another one now.
 */
static bool members_choose_again(struct service *service, const struct group_members *members,
                                 size_t failed, const struct err *err)
{
    struct err second;
    if (failed == SIZE_MAX || err->code != ErrOpenFileFailed || err->errnum != EEXIST ||
        members->request->members[failed].snapshot_file)
        return false;
    char *other = member_choose_file(service, members, failed, &second);
    bool is_other = other && strcmp(other, members->list[failed].snapshot_file) != 0;
    free(is_other ? (char *)members->list[failed].snapshot_file : other);
    if (is_other)
        members->list[failed].snapshot_file = other;
    return is_other;
}

struct group *group_members_begin(struct service *service, const struct group_members *members,
                                  size_t *failed_member, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    struct group *group;
    id_bytes(members->id, id);
    do
        group = group_begin(service->block, id, members->list, members->request->count,
                            failed_member, err);
    while (!group && members_choose_again(service, members, *failed_member, err));
    return group;
}

/* ---- checks ---- */

int group_name_check(struct service *service, const char *name, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (store_group_get(service->store, name, &now, err) == 0)
        return err_set(err, ErrGroupExists, 0, "there is a snapshot group '%s' already", name);
    return err->code == ErrGroupNotFound ? 0 : -1;
}

static int base_check(const struct group_row *target, const struct group_member *member,
                      struct err *err)
{
    for (size_t i = 0; i < target->member_count; i++) {
        const struct member_row *now = &target->members[i];
        const char *image = now->backing_image ? now->backing_image : now->backing_file;
        if (strcmp(now->device, member->device) == 0 && strcmp(image, member->base->image) != 0)
            return err_set(err, ErrDeviceInUse, 0,
                           "image '%s' was merged with another one meanwhile; try again",
                           member->base->image);
    }
    return 0;
}

int group_bases_check(const struct snapshot_group_request *request, const struct group_row *target,
                      struct err *err)
{
    for (size_t i = 0; i < request->count; i++)
        if (base_check(target, &request->members[i], err) != 0)
            return -1;
    return 0;
}

/* ---- the row ---- */

static int member_row_fill(struct service *service, struct member_row *row,
                           const struct group_member *member, const struct group_member_info *info)
{
    struct err err;
    if (!info)
        row->snapshot_file = block_resolve(service->block, member->snapshot_file, &err);
    if (!row->snapshot_file)
        row->snapshot_file = strdup(info ? info->snapshot_file : member->snapshot_file);
    row->device = strdup(member->device);
    row->format = strdup(member->format);
    row->backing_file = info ? strdup(info->backing_file) : NULL;
    row->backing_format = info ? strdup(info->backing_format) : NULL;
    row->base_file = member->base ? strdup(member->base->image) : NULL;
    row->has_size = info != NULL;
    row->size_bytes = info ? info->size_bytes : 0;
    row->has_grown = member->size_bytes != 0;
    row->grown_bytes = member->size_bytes;
    row->directory_identity = info ? strdup(info->directory_identity) : NULL;
    bool is_short =
        !row->device || !row->format || !row->snapshot_file || (member->base && !row->base_file) ||
        (info && (!row->backing_file || !row->backing_format || !row->directory_identity));
    return is_short ? -1 : 0;
}

int group_row_begin(struct group_row *row, const struct snapshot_group_request *request,
                    struct err *err)
{
    assert(!row->members);
    row->created_at_us = clock_now_us();
    row->name = strdup(request->name ? request->name : row->id);
    row->labels = strdup(request->labels);
    row->request_hash = strdup(request->origin->request_hash);
    row->selector = request->selector ? strdup(request->selector) : NULL;
    row->kind = request->is_cut           ? GROUP_KIND_CUT
                : request->rolled_back_to ? GROUP_KIND_ROLLBACK
                                          : GROUP_KIND_SNAPSHOT;
    row->rolled_back_to = request->rolled_back_to ? strdup(request->rolled_back_to) : NULL;
    row->members = calloc(request->count + 1, sizeof(*row->members));
    bool is_short = !row->name || !row->labels || !row->request_hash ||
                    (request->selector && !row->selector) ||
                    (request->rolled_back_to && !row->rolled_back_to);
    return row->members && !is_short ? 0 : out_of_memory(err);
}

int group_row_fill_member(struct service *service, struct group_row *row,
                          const struct group_members *members, size_t position,
                          const struct group_member_info *info, struct err *err)
{
    row->member_count = position + 1;
    bool is_short =
        member_row_fill(service, &row->members[position], &members->list[position], info) != 0;
    return is_short ? out_of_memory(err) : 0;
}

/* While the device is held no other group changes its row. */
static int revision_check(struct service *service, const struct snapshot_group_request *request,
                          struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    if (!request->revision)
        return 0;
    const char *device = request->members[0].device;
    assert(request->count == 1);
    if (store_device_get(service->store, device, &now, err) != 0)
        return -1;
    return now.revision == request->revision
               ? 0
               : err_set(err, ErrPreconditionFailed, 0, "device '%s' has changed; get it again",
                         device);
}

int group_row_fill(struct service *service, struct group_row *row,
                   const struct group_members *members, struct group *group, struct err *err)
{
    if (group && revision_check(service, members->request, err) != 0)
        return -1;
    if (group_row_begin(row, members->request, err) != 0)
        return -1;
    for (size_t i = 0; i < members->request->count; i++) {
        struct group_member_info info;
        if (group)
            group_member_info(group, i, &info);
        if (group_row_fill_member(service, row, members, i, group ? &info : NULL, err) != 0)
            return -1;
    }
    return 0;
}
