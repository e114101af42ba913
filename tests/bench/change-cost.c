/* SPDX-License-Identifier: Apache-2.0
 *
 * What it costs a change that cuts can be made at any time: nanoseconds of processor time.
 *
 *     bench-change-cost [--smoke]
 *
 * Two loops, each by one thread and by two on the same device:
 *
 *     bracket   only what surrounds a change: change_begin() and change_end() below
 *     write     all of device_write() of 512 bytes, on a driver whose write does nothing
 *
 * Prints the median and the least of the rounds. When the bracket changes, these two functions are
 * changed with it, and `write` says whether anything was left out: it is measured through io.h.
 */
#include "block/block.h"
#include "block/device/registry.h"
#include "block/format/raw.h"
#include "block/image/drivers.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 2, ROUNDS = 31, CHANGES = 200000, SMOKE_CHANGES = 2000, WRITE_BYTES = 512 };
enum { DISK_BYTES = 1 << 20 };

static unsigned changes = CHANGES;
static struct device *device;

static void change_begin(struct change *change)
{
    changes_begin(&device->changes, &device->index, change, 0, WRITE_BYTES);
}

static void change_end(struct change *change)
{
    changes_end(change);
}

/* ---- the loops ---- */

static double thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void loop_bracket(void)
{
    for (unsigned i = 0; i < changes; i++) {
        struct change change;
        change_begin(&change);
        __asm__ volatile("" ::: "memory");
        change_end(&change);
    }
}

static void loop_write(void)
{
    static const char data[WRITE_BYTES];
    for (unsigned i = 0; i < changes; i++) {
        int ret = device_write(device, data, 0, sizeof(data), 0);
        assert(ret == 0);
        (void)ret;
    }
}

struct worker {
    pthread_t thread;
    void (*loop)(void);
    pthread_barrier_t *start;
    double ns; /* a change */
};

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    pthread_barrier_wait(worker->start);
    double begun = thread_ns();
    worker->loop();
    worker->ns = (thread_ns() - begun) / changes;
    return NULL;
}

/* A change's time, the mean of the threads. */
static double round_ns(void (*loop)(void), unsigned threads)
{
    struct worker workers[THREADS_MAX];
    pthread_barrier_t start;
    double sum = 0;
    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.loop = loop, .start = &start};
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum += workers[i].ns;
    }
    pthread_barrier_destroy(&start);
    return sum / threads;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void measure(const char *name, void (*loop)(void), unsigned threads)
{
    double ns[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++)
        ns[i] = round_ns(loop, threads);
    qsort(ns, ROUNDS, sizeof(*ns), compare);
    printf("%-8s %7u %11.1f %11.1f\n", name, threads, ns[ROUNDS / 2], ns[0]);
}

/* ---- the device ---- */

static int write_nothing(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                         unsigned flags)
{
    (void)node, (void)buf, (void)offset, (void)length, (void)flags;
    return 0;
}

static void must(bool is_done, const struct err *err)
{
    if (is_done)
        return;
    fprintf(stderr, "bench-change-cost: %s\n", err->message);
    exit(1);
}

static struct block *device_make(const char *directory)
{
    static struct driver driver;
    struct err err = {.message = "no such device"};
    const unsigned char id[OWNER_ID_BYTES] = {1};
    struct block *block = block_open(directory, &err);
    must(block, &err);
    driver = driver_raw;
    driver.write = write_nothing;
    driver_register(&driver);
    const struct device_spec spec = {.name = "d", .image = "d.raw", .format = "raw"};
    must(block_image_create(block, "d.raw", "raw", DISK_BYTES, NULL, id, &err) == 0, &err);
    must(block_image_keep(block, "d.raw", id, &err) == 0, &err);
    must(block_device_open(block, &spec, &err) == 0, &err);
    block_device_export(block, "d");
    LOCK_GUARD(&block->lock);
    device = registry_find_locked(block, "d");
    return block;
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/sg.XXXXXX";
    struct err err;
    struct utsname machine;
    if (argc > 1 && strcmp(argv[1], "--smoke") == 0)
        changes = SMOKE_CHANGES;
    if (!mkdtemp(directory) || uname(&machine) != 0)
        return 1;
    struct block *block = device_make(directory);
    printf("%s %s, %ld cores, %d rounds of %u changes a thread; ns of processor time a change\n",
           machine.sysname, machine.release, sysconf(_SC_NPROCESSORS_ONLN), ROUNDS, changes);
    printf("%-8s %7s %11s %11s\n", "loop", "threads", "median", "least");
    for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
        measure("bracket", loop_bracket, threads);
        measure("write", loop_write, threads);
    }
    must(block_close(block, &err) == 0, &err);
    char image[sizeof(directory) + sizeof("/d.raw")];
    snprintf(image, sizeof(image), "%s/d.raw", directory);
    unlink(image);
    return rmdir(directory);
}
