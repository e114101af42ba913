/* SPDX-License-Identifier: Apache-2.0
 *
 * While the disk hangs in fdatasync, writers that change many tables come to have no room in memory
 * and wait for it. Neither a cut nor a seal waits with them: they wait while they are listed in no
 * image. Once the disk goes on they look again, and do not flush one after the other.
 *
 * The fdatasync that hangs is this program's own.
 * timeout: 300
 */
#include "tests/lib/disks.h"

#include "block/format/qcow2/state.h"

#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A table of 512 bytes maps 32 KiB: every write changes another one. */
enum { STEP_BYTES = 32 << 10, WRITERS = 8, STEPS_EACH = 2000 };
static const char *const NAMES[] = {"d"};

static _Thread_local bool is_writer;
static atomic_bool hangs;
static atomic_uint by_writers;
static sem_t entered, leave;
static struct device *device;

int fdatasync(int fd)
{
    if (atomic_exchange(&hangs, false)) {
        sem_post(&entered);
        sem_wait(&leave);
    }
    atomic_fetch_add(&by_writers, is_writer);
    return (int)syscall(SYS_fdatasync, fd);
}

static void *writer_run(void *arg)
{
    unsigned char bytes[512];
    uintptr_t which = (uintptr_t)arg;
    is_writer = true;
    memset(bytes, (int)which + 1, sizeof(bytes));
    for (uint64_t i = 0; i < STEPS_EACH; i++)
        if (device_write(device, bytes, (i * WRITERS + which) * STEP_BYTES, sizeof(bytes), 0) != 0)
            return (void *)1;
    return NULL;
}

static struct block *disk_make(void)
{
    struct err err;
    unsigned char id[OWNER_ID_BYTES] = {1};
    struct block *block = block_open(scratch_dir(), &err);
    const struct cluster_shape shape = {.cluster_bytes = 512};
    assert_non_null(block);
    assert_int_equal(block_image_create(block, "d.qcow2", "qcow2",
                                        (uint64_t)WRITERS * STEPS_EACH * STEP_BYTES, &shape, id,
                                        &err),
                     0);
    assert_int_equal(block_image_keep(block, "d.qcow2", id, &err), 0);
    const struct device_spec spec = {.name = "d", .image = "d.qcow2", .format = "qcow2"};
    assert_int_equal(block_device_open(block, &spec, &err), 0);
    block_device_export(block, "d");
    device = disk(block, "d");
    return block;
}

/* Until as much has changed in memory as may. On a busy machine that may be before the flush that
 * hangs has taken its part of it. */
static void wait_until_full(struct node *node)
{
    struct qcow2 *q = node->state;
    while (!atomic_load(&q->flusher.is_full))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(a_seal_waits_for_no_flush)
{
    struct err err;
    size_t failed_member;
    pthread_t writers[WRITERS];
    void *failed;
    struct block *block = disk_make();
    struct group *group = group_of(block, "g.qcow2", 1, NAMES, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(group_prepare(group, &failed_member, &err), 0);
    sem_init(&entered, 0, 0);
    sem_init(&leave, 0, 0);
    atomic_store(&hangs, true);
    for (uintptr_t i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, writer_run, (void *)i);
    sem_wait(&entered);
    wait_until_full(index_top(device->index));

    group_must_cut(group);
    /* Hangs where a writer that waits is listed. */
    changes_await(&device->changes, index_unsealed(device->index), 0, UINT64_MAX);

    sem_post(&leave);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i], &failed);
        assert_null(failed);
    }
    /* Of all writers two flush at most, three syncs each: one was the first, one found too much
     * after him. */
    assert_in_range(atomic_load(&by_writers), 0, 6);
    group_must_finish(group);
    group_free(group);
    for (uint64_t i = 0; i < (uint64_t)WRITERS * STEPS_EACH; i++) {
        unsigned char byte = 0;
        assert_int_equal(device_read(device, &byte, i * STEP_BYTES, 1), 0);
        assert_int_equal(byte, i % WRITERS + 1);
    }
    assert_int_equal(block_close(block, &err), 0);
    image_must_be_clean("d.qcow2");
    image_must_be_clean("d.g.qcow2");
}
