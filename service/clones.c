/* SPDX-License-Identifier: Apache-2.0
 *
 * See clones.h.
 */
#include "service/clones.h"

#include "service/context.h"
#include "service/default-files.h"
#include "service/snapshot-groups.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct member_row *group_find_member(const struct group_row *group, const char *device,
                                                  struct err *err)
{
    const struct member_row *member = group_row_member(group, device);
    if (!member)
        err_set(err, ErrDeviceNotFound, 0, "device '%s' is no member of snapshot group '%s'",
                device, group->name);
    return member;
}

static struct clone *member_open(struct service *service, const struct clone_source *source,
                                 struct err *err)
{
    char export[DEVICE_NAME_MAX + GROUP_NAME_MAX + 2];
    const struct member_row *member = source->member;
    assert(member->backing_file && member->backing_format); /* known before `preparing` */
    snprintf(export, sizeof(export), "%s@%s", member->device, source->group.name);
    const struct clone_base base = {.image = member->backing_file,
                                    .identity = member->backing_identity,
                                    .format = member->backing_format,
                                    .export = export};
    return clone_begin(service->block, &base, err);
}

/* The exports of a clone admit those of the member, unless the request says otherwise. */
static int request_fill(struct service *service, struct clone_source *source,
                        const struct device_request *request, struct err *err)
{
    source->request = *request;
    source->request.format = "qcow2";
    source->request.create = true;
    if (!request->allowed_clients)
        source->request.allowed_clients = source->member->allowed_clients;
    if (request->image)
        return 0;
    source->image = default_file_choose(service, request->name, NULL, err);
    source->request.image = source->image;
    return source->image ? 0 : -1;
}

static int source_open(struct service *service, const struct device_from *from,
                       struct clone_source *source, enum device_part *part, struct err *err)
{
    *part = DEVICE_PART_GROUP;
    if (snapshot_groups_get_committed(service, from->group, &source->group, err) != 0)
        return -1;
    *part = DEVICE_PART_MEMBER;
    source->member = group_find_member(&source->group, from->device, err);
    source->clone = source->member ? member_open(service, source, err) : NULL;
    return source->clone ? 0 : -1;
}

/* Whether the image that could not be opened was merged with another one meanwhile, whose place is
 * known now. */
static bool source_has_moved(struct service *service, const struct clone_source *source)
{
    struct err ignored;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (!source->member || store_group_get(service->store, source->group.id, &now, &ignored) != 0)
        return false;
    const struct member_row *member = group_find_member(&now, source->member->device, &ignored);
    return !member || now.state != GROUP_COMMITTED ||
           strcmp(member->backing_file, source->member->backing_file) != 0;
}

int clone_source_open(struct service *service, const struct device_request *request,
                      struct clone_source *source, enum device_part *part, struct err *err)
{
    source->request = *request;
    if (!request->from.group)
        return 0;
    while (source_open(service, &request->from, source, part, err) != 0) {
        if (err->code != ErrOpenFileFailed || !source_has_moved(service, source))
            return -1;
        source->member = NULL;
        group_row_clear(&source->group);
    }
    *part = DEVICE_PART_ITSELF;
    return request_fill(service, source, request, err);
}

void clone_source_close(struct clone_source *source)
{
    if (source->clone)
        clone_free(source->clone);
    free(source->image);
    group_row_clear(&source->group);
}

int clone_source_place(struct clone_source *source, struct device_row *row, struct err *err)
{
    row->origin_how = strdup("clone");
    row->origin_group = strdup(source->group.id);
    row->origin_device = strdup(source->member->device);
    row->origin_base = source->member->backing_image;
    row->has_origin = true;
    row->origin_at_us = row->created_at_us;
    if (!row->origin_how || !row->origin_group || !row->origin_device)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for device '%s'", row->name);
    const struct clone_image image = {.path = row->image,
                                      .format = row->format,
                                      .shape = {row->cluster_size_bytes, row->extended_l2}};
    return clone_place(source->clone, &image, err);
}
