/* SPDX-License-Identifier: Apache-2.0
 *
 * Once many tables have changed in memory the image's flusher thread flushes them: writers go on
 * while its fdatasync hangs, and none of them calls fdatasync itself. Nothing is lost or reordered:
 * qemu-io and qemu-img check the image afterwards.
 *
 * The fdatasync that hangs is this program's own.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A table of 512 bytes maps 32 KiB: every write of the walk below changes another one. */
enum { STEP_BYTES = 32 << 10, STEPS = 2800, FLUSHED_BY = 1200, DEADLINE_S = 60 };

static struct {
    atomic_bool hangs;
    atomic_uint by_writer, by_others;
    pthread_t writer;
    sem_t entered, leave;
} sync_state;

int fdatasync(int fd)
{
    if (pthread_equal(pthread_self(), sync_state.writer)) {
        atomic_fetch_add(&sync_state.by_writer, 1);
    } else {
        atomic_fetch_add(&sync_state.by_others, 1);
        if (atomic_exchange(&sync_state.hangs, false)) {
            sem_post(&sync_state.entered);
            sem_wait(&sync_state.leave);
        }
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void steps_write(struct node *node, unsigned from, unsigned to)
{
    unsigned char bytes[512];
    for (unsigned i = from; i < to; i++) {
        memset(bytes, (int)(i % 251 + 1), sizeof(bytes));
        assert_int_equal(node_write(node, bytes, (uint64_t)i * STEP_BYTES, sizeof(bytes)), 0);
    }
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(writers_go_on)
{
    struct timespec deadline;
    const struct image_spec spec = {.size_bytes = (uint64_t)STEPS * STEP_BYTES,
                                    .cluster_bytes = 512};
    struct node *node = overlay_must_create("image.qcow2", &spec, NULL);
    sem_init(&sync_state.entered, 0, 0);
    sem_init(&sync_state.leave, 0, 0);
    sync_state.writer = pthread_self();
    atomic_store(&sync_state.hangs, true);

    steps_write(node, 0, FLUSHED_BY);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE_S;
    assert_int_equal(sem_timedwait(&sync_state.entered, &deadline), 0);
    steps_write(node, FLUSHED_BY, STEPS);
    assert_int_equal(atomic_load(&sync_state.by_writer), 0);
    sem_post(&sync_state.leave);

    node_must_close(&node);
    assert_true(atomic_load(&sync_state.by_others) > 0);
    image_must_be_clean("image.qcow2");
    for (unsigned i = 0; i < STEPS; i += 311)
        shell("qemu-io -r -f qcow2 -c 'read -P %u %u 512' -c 'read -P 0 %u 32256' image.qcow2 | "
              "grep -c '^read' | grep -qx 2",
              i % 251 + 1, i * STEP_BYTES, i * STEP_BYTES + 512);
}
