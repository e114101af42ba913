/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits for an image that is in use goes on as soon as it is not, or as openings are stopped;
 * else after the time that he gave.
 */
#include "tests/lib/disks.h"

#include <pthread.h>

enum { LONG_MS = 600000, SHORT_MS = 10 };

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

struct waiting {
    struct block *block;
    const char *path;
    bool is_free;
    pthread_t thread;
};

static void *waiting_run(void *arg)
{
    struct waiting *waiting = arg;
    waiting->is_free = block_image_await(waiting->block, waiting->path, LONG_MS);
    return NULL;
}

static void waiting_begin(struct waiting *waiting)
{
    assert_int_equal(0, pthread_create(&waiting->thread, NULL, waiting_run, waiting));
}

static bool waiting_end(const struct waiting *waiting)
{
    pthread_join(waiting->thread, NULL);
    return waiting->is_free;
}

TEST(until_the_device_is_detached)
{
    CLEANUP_FREE char *path = scratch_path("d0.qcow2");
    struct waiting waiting = {.block = *state, .path = path};
    assert_false(block_image_await(*state, path, SHORT_MS));
    waiting_begin(&waiting);
    disk_detach(*state, "d0");
    assert_true(waiting_end(&waiting));
    assert_true(block_image_await(*state, path, LONG_MS));
}

TEST(until_openings_are_stopped)
{
    CLEANUP_FREE char *path = scratch_path("d0.qcow2");
    struct waiting waiting = {.block = *state, .path = path};
    waiting_begin(&waiting);
    block_stop_opening(*state);
    assert_false(waiting_end(&waiting));
    assert_false(block_image_await(*state, path, LONG_MS));
}
