/* SPDX-License-Identifier: Apache-2.0
 *
 * An image with many changed tables has a flusher thread. A frozen image has none: after any number
 * of groups there are as many threads as before.
 * timeout: 120
 */
#include "tests/lib/disks.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A table of 512 bytes maps 32 KiB: every write changes another one. */
enum { STEP_BYTES = 32 << 10, STEPS = 2000, GROUPS = 4 };
static const char *const NAMES[] = {"d"};

static unsigned threads_count(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* One that was joined is still seen for a moment. The test's time is up if it stays. */
static void threads_must_be(unsigned count)
{
    while (threads_count() > count)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(threads_count(), count);
}

static void *thread_path(void *arg)
{
    snprintf(arg, PATH_MAX, "/proc/self/task/%d", (int)gettid());
    return NULL;
}

/* A sanitizer has a thread of its own from the first one on that is made. */
static unsigned threads_at_first(void)
{
    pthread_t thread;
    char path[PATH_MAX];
    assert_int_equal(pthread_create(&thread, NULL, thread_path, path), 0);
    pthread_join(thread, NULL);
    while (access(path, F_OK) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return threads_count();
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(frozen_images_have_none)
{
    struct err err;
    char suffix[32];
    unsigned char id[OWNER_ID_BYTES] = {1}, bytes[512] = {1};
    struct block *block = block_open(scratch_dir(), &err);
    const struct cluster_shape shape = {.cluster_bytes = 512};
    const struct device_spec spec = {
        .name = "d", .image = "d.qcow2", .format = "qcow2", .overlay = shape};
    assert_non_null(block);
    assert_int_equal(block_image_create(block, "d.qcow2", "qcow2", (uint64_t)STEPS * STEP_BYTES,
                                        &shape, id, &err),
                     0);
    assert_int_equal(block_image_keep(block, "d.qcow2", id, &err), 0);
    assert_int_equal(block_device_open(block, &spec, &err), 0);
    block_device_export(block, "d");
    unsigned before = threads_at_first();
    for (int i = 0; i < GROUPS; i++) {
        for (uint64_t step = 0; step < STEPS; step++)
            assert_int_equal(device_write(disk(block, "d"), bytes, step * STEP_BYTES, 512, 0), 0);
        threads_must_be(before + 1); /* the top's */
        snprintf(suffix, sizeof(suffix), "%d.qcow2", i);
        group_take(block, suffix, 1, NAMES);
        threads_must_be(before);
    }
    assert_int_equal(block_close(block, &err), 0);
    image_must_be_clean("d.qcow2");
}
