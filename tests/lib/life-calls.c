/* SPDX-License-Identifier: Apache-2.0
 *
 * See life-calls.h.
 */
#include "tests/lib/life-calls.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/io.h"
#include "service/copies.h"
#include "service/deletes.h"
#include "service/device-update.h"
#include "service/holds.h"
#include "service/jobs.h"
#include "service/snapshot-groups.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXPORT_BYTES = 2 * LIFE_NAME_BYTES, JOB_TIMEOUT_MS = 60000, JOB_POLL_US = 200 };

static unsigned char bytes_read[LIFE_VIEW_BYTES], bytes_written[LIFE_VIEW_BYTES];

static const char hold_name[] = "backup";

const char *life_file_of(const struct living *living, const char *path)
{
    const size_t length = strlen(living->directory);
    if (strncmp(path, living->directory, length) != 0 || strncmp(path + length, "/images/", 8) != 0)
        life_fail(living->life, "%s is not in the image directory", path);
    return path + length + 8;
}

/* ---- exports ---- */

static struct device *export_must_use(struct living *living, const char *name)
{
    struct err err;
    struct device *device =
        export_use(living->service.block, name, &(struct client_names){0}, &err);
    if (!device)
        life_fail(living->life, "%s cannot be used: %s", name, err.message);
    return device;
}

static void export_read(struct living *living, const char *name, uint64_t size_bytes)
{
    struct device *device = export_must_use(living, name);
    if (device_size_bytes(device) != size_bytes)
        life_fail(living->life, "%s has %llu bytes, not %llu", name,
                  (unsigned long long)device_size_bytes(device), (unsigned long long)size_bytes);
    int ret = device_read(device, bytes_read, 0, size_bytes);
    export_unuse(living->service.block, device);
    if (ret != 0)
        life_fail(living->life, "%s cannot be read: %s", name, strerror(-ret));
}

static void export_compare(struct living *living, const char *name, const struct life_view *view)
{
    export_read(living, name, view->size_bytes);
    uint64_t at = bytes_first_difference(bytes_read, view->bytes, view->size_bytes);
    if (at != view->size_bytes)
        life_fail(living->life, "%s reads wrong at %llu: 0x%02x, not 0x%02x", name,
                  (unsigned long long)at, bytes_read[at], view->bytes[at]);
    living->life->checked++;
}

static void member_export(const struct life_group *group, size_t member, char name[EXPORT_BYTES])
{
    snprintf(name, EXPORT_BYTES, "%s@%s", group->members[member].name, group->name);
}

/* ---- asking ---- */

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
    struct device *device = export_must_use(living, change->name);
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
    char files[LIFE_MEMBERS_MAX][LIFE_NAME_BYTES + 4];
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
    const struct device_change resize = {
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
    char name[EXPORT_BYTES];
    struct device *user = NULL;
    if (change->has_user && change->kind == LIFE_DELETE) {
        member_export(&living->life->groups[change->group], change->member, name);
        user = export_must_use(living, name);
    } else if (change->has_user && change->kind == LIFE_DETACH) {
        user = export_must_use(living, change->name);
    }
    int ret = ask(living, change, err);
    if (user)
        export_unuse(living->service.block, user);
    return ret;
}

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
    CLEANUP_FREE char *path = NULL;
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
    export_read(living, change->name, view->size_bytes);
    for (uint64_t at = 0; at < view->size_bytes; at += BLOCK_SECTOR_BYTES) {
        unsigned char after[BLOCK_SECTOR_BYTES];
        memcpy(after, view->bytes + at, sizeof(after));
        for (uint64_t i = 0; i < sizeof(after); i++)
            if (at + i >= change->offset && at + i < change->offset + change->length)
                after[i] = bytes_written[at + i - change->offset];
        if (memcmp(bytes_read + at, view->bytes + at, sizeof(after)) != 0 &&
            memcmp(bytes_read + at, after, sizeof(after)) != 0)
            life_fail(living->life, "%s has what nobody wrote at %llu", change->name,
                      (unsigned long long)at);
    }
    memcpy(view->bytes, bytes_read, view->size_bytes);
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

static void left_fill(struct life_left *left, const char *file, bool is_raw, unsigned tree,
                      const struct life_view *view)
{
    snprintf(left->file, sizeof(left->file), "%s", file);
    left->is_raw = is_raw;
    left->tree = tree;
    life_view_copy(&left->view, view);
    left->is_used = true;
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
    left_fill(&copy->made, change->file, change->is_raw, ++life->trees, &member->view);
    copy->is_used = true;
}

static void apply_detach(struct life *life, const struct life_change *change)
{
    struct life_disk *disk = &life->disks[change->disk];
    if (change->deletes_file)
        for (size_t i = 0; i < life->beneath.count; i++)
            life_add_file(life, &life->loose, life->beneath.files[i]);
    else
        left_fill(&life->left[life_free_left(life)], change->file, change->is_raw, disk->tree,
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

/* ---- jobs ---- */

static bool job_is_done(struct living *living, const char *id)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    if (jobs_get(&living->service, id, &row, &err) != 0)
        life_fail(living->life, "%s", err.message);
    if (job_state_is_finished(row.state) && row.state != JOB_DONE)
        life_fail(living->life, "job %s is %s: %s", id, job_state_name(row.state),
                  row.error_message ? row.error_message : "");
    return row.state == JOB_DONE;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void job_await(struct living *living, const char *id)
{
    const uint64_t until = now_ms() + JOB_TIMEOUT_MS;
    while (!job_is_done(living, id)) {
        if (now_ms() > until)
            life_fail(living->life, "job %s does not end", id);
        usleep(JOB_POLL_US);
    }
}

static bool job_is_in(struct living *living, enum job_state state)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    int found = store_job_next(living->service.store, state, 0, &row, &err);
    if (found < 0)
        life_fail(living->life, "%s", err.message);
    return found > 0;
}

void life_check_jobs(struct living *living)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    if (store_job_next(living->service.store, JOB_FAILED, 0, &row, &err) != 0)
        life_fail(living->life, "job %s has failed: %s", row.id, row.error_message);
}

bool life_await_idle(struct living *living, unsigned timeout_ms)
{
    const uint64_t until = now_ms() + timeout_ms;
    while (job_is_in(living, JOB_QUEUED) || job_is_in(living, JOB_RUNNING)) {
        if (now_ms() > until)
            return false;
        usleep(JOB_POLL_US);
    }
    return true;
}

static void group_await(struct living *living, struct life_group *group)
{
    struct err err;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    job_await(living, group->job);
    if (store_group_get(living->service.store, group->id, &row, &err) != 0 ||
        row.state != GROUP_DELETED)
        life_fail(living->life, "%s is not deleted after its job", group->name);
    life_note(living->life, "  %s is deleted", group->name);
    group->is_used = false;
}

void life_await_jobs(struct living *living)
{
    struct life *life = living->life;
    for (size_t i = 0; i < LIFE_COPIES_MAX; i++) {
        struct life_copy *copy = &life->copies[i];
        if (!copy->is_used)
            continue;
        job_await(living, copy->job);
        const struct life_left *made = &copy->made;
        left_fill(&life->left[life_free_left(life)], made->file, made->is_raw, made->tree,
                  &made->view);
        life_add_file(life, &life->named, made->file);
        copy->is_used = false;
    }
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++)
        if (life->groups[i].is_used && life->groups[i].is_deleting)
            group_await(living, &life->groups[i]);
}

/* ---- what must hold ---- */

/* Compares everything, or each thing with that chance. */
static void check(struct living *living, unsigned percent)
{
    char name[EXPORT_BYTES];
    struct life *life = living->life;
    for (size_t i = 0; i < LIFE_DISKS_MAX; i++)
        if (life->disks[i].is_used && random_chance(&life->random, percent))
            export_compare(living, life->disks[i].name, &life->disks[i].view);
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++) {
        const struct life_group *group = &life->groups[i];
        if (!group->is_used || group->is_deleting)
            continue;
        for (size_t j = 0; j < group->count; j++) {
            member_export(group, j, name);
            if (random_chance(&life->random, percent))
                export_compare(living, name, &group->members[j].view);
        }
    }
}

void life_check_some(struct living *living)
{
    check(living, 15);
}

void life_check(struct living *living)
{
    check(living, 100);
}
