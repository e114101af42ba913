/* SPDX-License-Identifier: Apache-2.0
 *
 * Whoever reads that a group is committed takes the next one of its devices, or detaches them: he
 * is never refused because the group still holds them. Here he asks just before they are released.
 */
#include "tests/lib/service-fixture.h"
#include "tests/lib/testlib.h"

#include "block/device/object.h"
#include "service/devices.h"
#include "service/events.h"
#include "service/snapshot-groups.h"

#include <sched.h>
#include <string.h>

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};
static struct service service;

/* Who asks. */
static struct {
    atomic_bool is_wanted, has_ended;
    int (*ask)(struct err *err);
    int ret;
    struct err err;
    pthread_t thread;
} next;

static int take_group(const char *name, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    struct group_member member = {.device = "vda"};
    const struct snapshot_group_request request = {
        .name = name, .labels = "{}", .origin = &origin_daemon, .count = 1, .members = &member};
    return snapshot_groups_take(&service, &request, NULL, &row, err);
}

static void *next_run(void *arg)
{
    (void)arg;
    next.ret = next.ask(&next.err);
    atomic_store(&next.has_ended, true);
    return NULL;
}

static bool somebody_waits(void)
{
    LOCK_GUARD(&service.block->lock);
    return service.block->return_waiters;
}

/* The row says that the group is committed. */
static void next_begin(void)
{
    if (!atomic_exchange(&next.is_wanted, false))
        return;
    assert_int_equal(pthread_create(&next.thread, NULL, next_run, NULL), 0);
    while (!atomic_load(&next.has_ended) && !somebody_waits())
        sched_yield();
}

void __real_group_free(struct group *group);
void __wrap_group_free(struct group *group)
{
    next_begin();
    __real_group_free(group);
}

static void take_with(const char *name, int (*ask)(struct err *err))
{
    struct err err = {.message = ""};
    next.ask = ask;
    atomic_store(&next.has_ended, false);
    atomic_store(&next.is_wanted, true);
    if (take_group(name, &err) != 0)
        fail_msg("group %s: %s", name, err.message);
    pthread_join(next.thread, NULL);
    if (next.ret != 0)
        fail_msg("after group %s: %s", name, next.err.message);
}

static int ask_group(struct err *err)
{
    return take_group("next", err);
}

static int ask_detach(struct err *err)
{
    return block_device_close(service.block, "vda", err);
}

TEST(the_next_group_and_a_detach)
{
    struct err err = {.message = ""};
    assert_true(service_directory_make("daemon"));
    assert_int_equal(service_begin(&service, "daemon", &err), 0);
    service_must_create(&service, "vda");
    take_with("first", ask_group);
    take_with("second", ask_detach);
    assert_int_equal(service_end(&service, &err), 0);
}
