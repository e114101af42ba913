/* SPDX-License-Identifier: Apache-2.0
 *
 * One request may change more entries than a journal has room for, and many threads may fill it at
 * once: there are flushes in between, nothing overflows, and after a kill all is there. What a full
 * journal takes to replay is printed.
 */
#include "tests/lib/killable.h"

#include <string.h>
#include <time.h>

enum {
    DISK_BYTES = 64 << 20,
    CLUSTER_BYTES = 512,
    THREADS = 4,
    WRITE_BYTES = 64 << 10,
    ONE_THREAD_BYTES = 40 << 20,
    FILL_BYTES = 63 << 20
};

static struct node *node;
static unsigned char data[DISK_BYTES];

/* Every fourth piece of the last part of the disk. */
static void *stripe_write(void *arg)
{
    uint64_t first = ONE_THREAD_BYTES + (uint64_t)(uintptr_t)arg * WRITE_BYTES;
    for (uint64_t at = first; at < DISK_BYTES; at += THREADS * WRITE_BYTES)
        if (node_write(node, data + at, at, WRITE_BYTES) != 0)
            _exit(5);
    return NULL;
}

static int writer(void *arg)
{
    (void)arg;
    node = journaled_open("top.qcow2");
    if (!node || node_write(node, data, 0, DISK_BYTES) != 0 ||
        node_zero(node, 0, DISK_BYTES, true) != 0 || node_write(node, data, 0, DISK_BYTES) != 0 ||
        node_zero(node, 0, DISK_BYTES, false) != 0 || node_discard(node, 0, DISK_BYTES) != 0 ||
        node_write(node, data, 0, ONE_THREAD_BYTES) != 0)
        return 3;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, stripe_write, (void *)i);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    die();
    return 0;
}

/* A journal as full as it gets before somebody flushes: 65,016 records, of 64,512 clusters and 504
 * tables. */
static int filler(void *arg)
{
    (void)arg;
    node = journaled_open("top.qcow2");
    if (!node)
        return 3;
    for (uint64_t at = 0; at < FILL_BYTES; at += WRITE_BYTES)
        if (node_write(node, data + at, at, WRITE_BYTES) != 0)
            return 4;
    die();
    return 0;
}

static void kill_and_restart(int (*body)(void *), int cluster_bytes, const char *what)
{
    struct timespec from, to;
    shell("rm -f top.qcow2; mkdir -p run");
    shell("qemu-img create -q -f qcow2 -o cluster_size=%d top.qcow2 %d", cluster_bytes, DISK_BYTES);
    assert_int_equal(block_close(journals_must_open(), &(struct err){0}), 0);
    assert_true(killed_child(body, NULL, 0, false));
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(journals_settle(), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%s: replayed in %.0f ms\n", what,
           (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    /* Killed while a flush gives space back, the image may have leaked some (3), no more than
     * that. */
    int status = shell_status("qemu-img check -q -f qcow2 top.qcow2");
    assert_true(status == 0 || status == 3);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(a_full_journal_makes_room)
{
    struct random random = random_seeded(20121);
    random_fill(&random, data, DISK_BYTES);
    kill_and_restart(writer, 512, "after flushes");
    struct flat flat = {data, DISK_BYTES};
    flat_must_match_image(&flat, "top.qcow2", "qcow2");
    kill_and_restart(filler, 1024, "full");
    memset(data + FILL_BYTES, 0, DISK_BYTES - FILL_BYTES);
    flat_must_match_image(&flat, "top.qcow2", "qcow2");
}
