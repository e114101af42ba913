/* SPDX-License-Identifier: Apache-2.0
 *
 * A dry run of a delete has read which images there are when another group of the disk is deleted:
 * files go that it was about to look at. It says what the delete would do then, and does not fail.
 */
#include "tests/lib/service-fixture.h"
#include "tests/lib/testlib.h"

#include "service/deletes.h"
#include "service/devices.h"
#include "service/image-looks.h"
#include "service/snapshot-groups.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { GROUPS = 4 };

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};
static struct service service;
static struct err err;
static atomic_bool is_overtaken; /* the next look comes after the delete of the oldest group */

static void delete_group(const char *name)
{
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    assert_int_equal(delete_begin(&service, name, NULL, &origin_daemon, &job, &err), 0);
    while (!job_state_is_finished(job.state)) {
        char id[STORE_ID_CHARS + 1];
        memcpy(id, job.id, sizeof(id));
        job_row_clear(&job);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_int_equal(store_job_get(service.store, id, &job, &err), 1);
    }
    assert_int_equal(job.state, JOB_DONE);
}

int __real_images_look(struct service *its, const struct image_row *rows, size_t count,
                       struct image_look *looks, struct err *error);
int __wrap_images_look(struct service *its, const struct image_row *rows, size_t count,
                       struct image_look *looks, struct err *error)
{
    if (atomic_exchange(&is_overtaken, false))
        delete_group("g0");
    return __real_images_look(its, rows, count, looks, error);
}

static void take_group(const char *name)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    struct group_member member = {.device = "vda"};
    const struct snapshot_group_request request = {
        .name = name, .labels = "{}", .origin = &origin_daemon, .count = 1, .members = &member};
    assert_int_equal(snapshot_groups_take(&service, &request, NULL, &row, &err), 0);
}

TEST(a_merge_ends_between_the_rows_and_the_files)
{
    assert_true(service_directory_make("daemon"));
    assert_int_equal(service_begin(&service, "daemon", &err), 0);
    service_must_create(&service, "vda");
    for (int i = 0; i < GROUPS; i++)
        take_group((char[]){'g', (char)('0' + i), '\0'});
    atomic_store(&is_overtaken, true);
    struct delete_plan plan;
    if (delete_plan(&service, "g1", NULL, &plan, &err) != 0)
        fail_msg("%s", err.message);
    assert_false(atomic_load(&is_overtaken));
    assert_string_equal(plan.kept, "[]");
    free(plan.kept);
    delete_group("g1");
    assert_int_equal(service_end(&service, &err), 0);
}
