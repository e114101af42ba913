/* SPDX-License-Identifier: Apache-2.0
 *
 * The model, as it follows what was done. See life-calls.h.
 */
#include "tests/lib/life-calls.h"

#include "service/devices.h"
#include "service/snapshot-groups.h"
#include "store/jobs.h"

#include <stdio.h>
#include <string.h>

static unsigned char bytes_written[LIFE_VIEW_BYTES];

/* ---- after a kill ---- */

static bool device_is_there(struct living *living, const char *name)
{
    struct err err;
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    if (devices_get(&living->service, name, &view, &err) == 0)
        return true;
    if (err.code != ErrDeviceNotFound)
        life_fail(living->life, "%s: %s", name, err.message);
    return false;
}

static bool group_is(struct living *living, const char *name, struct group_row *row)
{
    struct err err;
    if (snapshot_groups_get(&living->service, name, row, &err) == 0)
        return true;
    if (err.code != ErrGroupNotFound)
        life_fail(living->life, "%s: %s", name, err.message);
    return false;
}

static bool change_is_in_group(struct living *living, struct life_change *change)
{
    const struct life_group *group = &living->life->groups[change->group];
    bool is_new = change->kind == LIFE_TAKE || change->kind == LIFE_ROLL_BACK;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (!group_is(living, is_new ? change->name : group->id, &row))
        return false;
    if (change->kind == LIFE_DELETE)
        return row.state != GROUP_COMMITTED;
    if (change->kind == LIFE_HOLD || change->kind == LIFE_RELEASE)
        return (row.holds != NULL) == (change->kind == LIFE_HOLD);
    return row.state == GROUP_COMMITTED;
}

/* The newest job is that of the change, which nothing followed. */
static bool job_find(struct living *living, struct life_change *change)
{
    struct err err;
    struct job_row *rows;
    size_t count;
    uint64_t next;
    const char *group = living->life->groups[change->group].id;
    if (store_job_list(living->service.store, JOB_STATES, 0, 1, &rows, &count, &next, &err) != 0)
        life_fail(living->life, "%s", err.message);
    bool is_there = count > 0 && rows[0].group_id && strcmp(rows[0].group_id, group) == 0 &&
                    (change->kind == LIFE_DELETE) == (rows[0].kind == JOB_DELETE);
    if (is_there && change->kind == LIFE_COPY)
        is_there = strstr(rows[0].spec, change->file) != NULL;
    if (is_there)
        memcpy(change->job, rows[0].id, sizeof(change->job));
    job_rows_free(rows, count);
    return is_there;
}

/* Each sector is as it was, or as it was to be. */
static void write_adopt(struct living *living, const struct life_change *change)
{
    struct life_view *view = &living->life->disks[change->disk].view;
    life_data(change, bytes_written);
    const unsigned char *now = life_read(living, change->name, view->size_bytes);
    for (uint64_t at = 0; at < view->size_bytes; at += BLOCK_SECTOR_BYTES) {
        unsigned char after[BLOCK_SECTOR_BYTES];
        memcpy(after, view->bytes + at, sizeof(after));
        for (uint64_t i = 0; i < sizeof(after); i++)
            if (at + i >= change->offset && at + i < change->offset + change->length)
                after[i] = bytes_written[at + i - change->offset];
        if (memcmp(now + at, view->bytes + at, sizeof(after)) != 0 &&
            memcmp(now + at, after, sizeof(after)) != 0)
            life_fail(living->life, "%s has what nobody wrote at %llu", change->name,
                      (unsigned long long)at);
    }
    memcpy(view->bytes, now, view->size_bytes);
}

static bool device_has_size(struct living *living, const char *name, uint64_t size_bytes)
{
    struct err err;
    struct device_info info;
    if (block_device_info_known(living->service.block, name, &info, &err) != 0)
        life_fail(living->life, "%s", err.message);
    bool has_size = info.size_bytes == size_bytes;
    device_info_clear(&info);
    return has_size;
}

bool life_was_done(struct living *living, struct life_change *change)
{
    switch (change->kind) {
    case LIFE_CREATE:
    case LIFE_ATTACH:
    case LIFE_CLONE:
        return !change->refusals && device_is_there(living, change->name);
    case LIFE_DETACH:
        return !device_is_there(living, change->name);
    case LIFE_RESIZE:
        return device_has_size(living, change->name, change->length);
    case LIFE_COPY:
        return job_find(living, change);
    case LIFE_DELETE:
        return change_is_in_group(living, change) && job_find(living, change);
    case LIFE_TAKE:
        if (change->refusals)
            return false;
        return change_is_in_group(living, change);
    case LIFE_ROLL_BACK:
    case LIFE_HOLD:
    case LIFE_RELEASE:
        return change_is_in_group(living, change);
    default:
        write_adopt(living, change);
        return false;
    }
}

/* ---- the model follows ---- */

static void disk_copy(struct life_disk *to, const struct life_disk *from)
{
    to->is_used = true;
    to->tree = from->tree;
    snprintf(to->name, sizeof(to->name), "%s", from->name);
    life_view_copy(&to->view, &from->view);
}

static struct life_disk *disk_add(struct life *life, const struct life_change *change,
                                  unsigned tree, const struct life_view *view)
{
    struct life_disk *disk = &life->disks[life_free_disk(life)];
    snprintf(disk->name, sizeof(disk->name), "%s", change->name);
    disk->is_used = true;
    disk->tree = tree;
    life_view_copy(&disk->view, view);
    return disk;
}

static void apply_create(struct life *life, const struct life_change *change)
{
    static const struct life_view nothing;
    struct life_disk *disk = disk_add(life, change, ++life->trees, &nothing);
    uint64_t sectors = (change->length + BLOCK_SECTOR_BYTES - 1) / BLOCK_SECTOR_BYTES;
    life_view_grow(&disk->view, sectors * BLOCK_SECTOR_BYTES);
    life_add_file(life, &life->named, change->file);
}

static void apply_attach(struct life *life, const struct life_change *change)
{
    struct life_left *left = &life->left[change->left];
    disk_add(life, change, left->tree, &left->view);
    left->is_used = false;
}

/* What is discarded reads as zeros, or as before. */
static void apply_discard(struct living *living, const struct life_change *change)
{
    write_adopt(living, change);
}

/* Its members are as the disks are now. */
static void group_add(struct living *living, const struct life_change *change, size_t count,
                      const size_t *disks)
{
    struct life *life = living->life;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    size_t at = 0;
    while (life->groups[at].is_used)
        at++;
    struct life_group *group = &life->groups[at];
    if (!group_is(living, change->name, &row))
        life_fail(life, "%s is not there", change->name);
    memcpy(group->id, row.id, sizeof(group->id));
    snprintf(group->name, sizeof(group->name), "%s", change->name);
    group->is_held = group->is_deleting = false;
    group->count = count;
    for (size_t i = 0; i < count; i++)
        disk_copy(&group->members[i], &life->disks[disks[i]]);
    group->is_used = true;
}

static void apply_roll_back(struct living *living, const struct life_change *change)
{
    struct life *life = living->life;
    const struct life_group *target = &life->groups[change->group];
    size_t disks[LIFE_MEMBERS_MAX];
    for (size_t i = 0; i < target->count; i++)
        disks[i] = life_find_disk(life, target->members[i].name);
    group_add(living, change, target->count, disks);
    for (size_t i = 0; i < target->count; i++)
        life_view_copy(&life->disks[disks[i]].view, &target->members[i].view);
}

static void apply_copy(struct life *life, const struct life_change *change)
{
    size_t at = 0;
    while (life->copies[at].is_used)
        at++;
    struct life_copy *copy = &life->copies[at];
    const struct life_disk *member = &life->groups[change->group].members[change->member];
    copy->group = change->group;
    memcpy(copy->job, change->job, sizeof(copy->job));
    life_left_fill(&copy->made, change->file, change->is_raw, ++life->trees, &member->view);
    copy->is_used = true;
}

static void apply_detach(struct life *life, const struct life_change *change)
{
    struct life_disk *disk = &life->disks[change->disk];
    if (change->deletes_file)
        for (size_t i = 0; i < life->beneath.count; i++)
            life_add_file(life, &life->loose, life->beneath.files[i]);
    else
        life_left_fill(&life->left[life_free_left(life)], change->file, change->is_raw, disk->tree,
                       &disk->view);
    disk->is_used = false;
}

static void apply_delete(struct life *life, const struct life_change *change)
{
    struct life_group *group = &life->groups[change->group];
    memcpy(group->job, change->job, sizeof(group->job));
    group->is_deleting = true;
}

void life_apply(struct living *living, const struct life_change *change)
{
    struct life *life = living->life;
    struct life_disk *disk = &life->disks[change->disk];
    struct life_group *group = &life->groups[change->group];
    switch (change->kind) {
    case LIFE_CREATE:
        return apply_create(life, change);
    case LIFE_ATTACH:
        return apply_attach(life, change);
    case LIFE_CLONE: {
        const struct life_disk *member = &group->members[change->member];
        disk_add(life, change, member->tree, &member->view);
        return;
    }
    case LIFE_WRITE:
    case LIFE_ZERO:
        life_data(change, bytes_written);
        memcpy(disk->view.bytes + change->offset, bytes_written, change->length);
        return;
    case LIFE_DISCARD:
        return apply_discard(living, change);
    case LIFE_TAKE:
        return group_add(living, change, change->count, change->disks);
    case LIFE_ROLL_BACK:
        return apply_roll_back(living, change);
    case LIFE_DELETE:
        return apply_delete(life, change);
    case LIFE_COPY:
        return apply_copy(life, change);
    case LIFE_RESIZE:
        return life_view_grow(&disk->view, change->length);
    case LIFE_DETACH:
        return apply_detach(life, change);
    default:
        group->is_held = change->kind == LIFE_HOLD;
    }
}
