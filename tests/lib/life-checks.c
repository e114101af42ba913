/* SPDX-License-Identifier: Apache-2.0
 *
 * See life-checks.h.
 */
#include "tests/lib/life-checks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/io.h"
#include "service/jobs.h"
#include "store/groups.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { JOB_TIMEOUT_MS = 60000, JOB_POLL_US = 200 };

static unsigned char bytes_read[LIFE_VIEW_BYTES];

const char *life_file_of(const struct living *living, const char *path)
{
    const size_t length = strlen(living->directory);
    if (strncmp(path, living->directory, length) != 0 || strncmp(path + length, "/images/", 8) != 0)
        life_fail(living->life, "%s is not in the image directory", path);
    return path + length + 8;
}

/* ---- exports ---- */

struct device *life_use(struct living *living, const char *name)
{
    struct err err;
    struct device *device =
        export_use(living->service.block, name, &(struct client_names){0}, &err);
    if (!device)
        life_fail(living->life, "%s cannot be used: %s", name, err.message);
    return device;
}

const unsigned char *life_read(struct living *living, const char *name, uint64_t size_bytes)
{
    struct device *device = life_use(living, name);
    if (device_size_bytes(device) != size_bytes)
        life_fail(living->life, "%s has %llu bytes, not %llu", name,
                  (unsigned long long)device_size_bytes(device), (unsigned long long)size_bytes);
    int ret = device_read(device, bytes_read, 0, size_bytes);
    export_unuse(living->service.block, device);
    if (ret != 0)
        life_fail(living->life, "%s cannot be read: %s", name, strerror(-ret));
    return bytes_read;
}

static void export_compare(struct living *living, const char *name, const struct life_view *view)
{
    life_read(living, name, view->size_bytes);
    uint64_t at = bytes_first_difference(bytes_read, view->bytes, view->size_bytes);
    if (at != view->size_bytes)
        life_fail(living->life, "%s reads wrong at %llu: 0x%02x, not 0x%02x", name,
                  (unsigned long long)at, bytes_read[at], view->bytes[at]);
    living->life->checked++;
}

void life_member_export(const struct life_group *group, size_t member, char name[LIFE_EXPORT_BYTES])
{
    snprintf(name, LIFE_EXPORT_BYTES, "%s@%s", group->members[member].name, group->name);
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
        life_left_fill(&life->left[life_free_left(life)], made->file, made->is_raw, made->tree,
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
    char name[LIFE_EXPORT_BYTES];
    struct life *life = living->life;
    for (size_t i = 0; i < LIFE_DISKS_MAX; i++)
        if (life->disks[i].is_used && random_chance(&life->random, percent))
            export_compare(living, life->disks[i].name, &life->disks[i].view);
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++) {
        const struct life_group *group = &life->groups[i];
        if (!group->is_used || group->is_deleting)
            continue;
        for (size_t j = 0; j < group->count; j++) {
            life_member_export(group, j, name);
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
