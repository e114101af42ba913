/* SPDX-License-Identifier: Apache-2.0
 *
 * What a device reads, through its index, is what a flat reference holds: over chains of five
 * images of mixed formats, cluster sizes, subclusters and lengths, with compressed clusters, while
 * it is written, zeroed, discarded, flushed and frozen by several threads at once.
 *
 *     guest offset   0    16K   32K   48K   64K        owners' stripes are smaller than a unit of
 *     owner          | t0  | t1  | t2  | t3  | t0 ...  the index and larger than its granules
 *
 * Each thread compares its own stripes as it goes, and what device_map() says of them: nothing that
 * it calls zeros, in whichever layer, is anything else. One run has memory for a single page of the
 * index, so that it forgets all the time. At the end QEMU compares the top with the reference.
 * CHAIN_SEED repeats a run (but for the interleaving).
 */
#include "tests/lib/disks.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    THREADS = 4,
    STRIPE_BYTES = 16 << 10,
    SIZE_BYTES = 70 * (1 << 20) + 512, /* more than two ranges of the index */
    BASE_BYTES = 40 * (1 << 20) + 1000,
    OPERATIONS = TEST_SANITIZED ? 4000 : 20000, /* of each thread */
    GROUPS = 6,
};

struct worker {
    pthread_t thread;
    struct device *device;
    struct flat *flat;
    struct random random;
    unsigned number;
    unsigned cached, missed;
    char failure[FAILURE_BYTES];
};

static void worker_read(struct worker *w, uint64_t offset, uint64_t length)
{
    unsigned char buf[STRIPE_BYTES];
    int ret = device_read_cached(w->device, buf, offset, length);
    w->cached += ret == 0;
    if (ret == -EAGAIN) {
        w->missed++;
        ret = device_read(w->device, buf, offset, length);
    }
    if (ret || memcmp(buf, w->flat->bytes + offset, length) != 0)
        failure_note(w->failure, w->number, "read", offset, ret);
}

static void worker_map(struct worker *w, uint64_t offset, uint64_t length)
{
    while (length && !w->failure[0]) {
        struct device_extent extent = {.length = length};
        int ret = device_map(w->device, offset, &extent);
        if (ret || extent.length == 0 || extent.length > length ||
            (extent.is_zero && !bytes_are_zero(w->flat->bytes + offset, extent.length)))
            failure_note(w->failure, w->number, "map", offset, ret);
        offset += extent.length;
        length -= extent.length;
    }
}

static void worker_change(struct worker *w, uint64_t offset, uint64_t length)
{
    unsigned char *bytes = w->flat->bytes + offset;
    if (random_chance(&w->random, 70)) {
        random_fill(&w->random, bytes, length);
        int ret = device_write(w->device, bytes, offset, length, 0);
        if (ret)
            failure_note(w->failure, w->number, "write", offset, ret);
        return;
    }
    /* A discarded range reads as before or as zeros: zeroed, it is known. */
    memset(bytes, 0, length);
    int ret = random_chance(&w->random, 50) ? device_discard(w->device, offset, length, 0) : 0;
    if (ret == 0)
        ret =
            device_zero(w->device, offset, length, random_chance(&w->random, 50) ? IO_NO_HOLE : 0);
    if (ret)
        failure_note(w->failure, w->number, "zero", offset, ret);
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    uint64_t rows = SIZE_BYTES / STRIPE_BYTES / THREADS;
    for (unsigned i = 0; i < OPERATIONS && !w->failure[0]; i++) {
        uint64_t row = random_below(&w->random, random_chance(&w->random, 50) ? 60 : rows);
        uint64_t offset = (row * THREADS + w->number) * STRIPE_BYTES;
        uint64_t skip = random_below(&w->random, STRIPE_BYTES);
        uint64_t length = random_between(&w->random, 1, STRIPE_BYTES - skip);
        if (random_chance(&w->random, 3)) {
            int ret = device_flush(w->device);
            if (ret)
                failure_note(w->failure, w->number, "flush", 0, ret);
        } else if (random_chance(&w->random, 50)) {
            worker_read(w, offset + skip, length);
        } else if (random_chance(&w->random, 25)) {
            worker_map(w, offset + skip, length);
        } else {
            worker_change(w, offset + skip, length);
        }
    }
    return NULL;
}

/* raw, longer clusters, shorter image, subclusters, 512 byte clusters; each filled by QEMU. */
static void chain_make(struct random *random)
{
    const struct image_options options[] = {
        {.cluster_bytes = 2 << 20, .refcount_bits = 16},
        {.cluster_bytes = 64 << 10, .refcount_bits = 16, .extended_l2 = true},
        {.cluster_bytes = 512, .refcount_bits = 16},
        {.cluster_bytes = 16 << 10, .refcount_bits = 16, .extended_l2 = true},
    };
    const uint64_t sizes[] = {SIZE_BYTES, 60 << 20, 8 << 20, SIZE_BYTES};
    char name[16], backing[16] = "base";
    shell("head -c %d /dev/urandom >base", BASE_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "layer%u", i);
        image_create(name, &options[i], sizes[i], backing, i ? "qcow2" : "raw");
        for (int times = 0; times < 3; times++)
            image_fill(name, sizes[i], options[i].cluster_bytes, random);
        strcpy(backing, name);
    }
}

static void run(struct block *block, struct device *device, struct flat *flat,
                struct random *random)
{
    static const char *const names[] = {"layered"};
    struct worker workers[THREADS] = {0};
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.device = device, .flat = flat, .number = i};
        workers[i].random = random_seeded(random_next(random));
        assert_int_equal(0, pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]));
    }
    for (unsigned i = 0; i < GROUPS; i++) {
        char suffix[16];
        snprintf(suffix, sizeof(suffix), "%u.qcow2", i);
        group_take(block, suffix, 1, names);
    }
    unsigned cached = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].failure[0])
            fail_msg("%s", workers[i].failure);
        cached += workers[i].cached;
        print_message("thread %u: %u reads from memory at once, %u not\n", i, workers[i].cached,
                      workers[i].missed);
    }
    assert_true(cached > 0);
}

static void reads_match(uint64_t budget_bytes)
{
    struct err err = {.message = ""};
    void *unused = NULL;
    scratch_begin(&unused);
    struct random random = random_seeded(environment_number("CHAIN_SEED", 1));
    chain_make(&random);
    CLEANUP(flat) struct flat *flat = image_truth("layer3", "qcow2");
    struct block *block = block_open(scratch_dir(), &err);
    assert_non_null(block);
    block_set_index_memory(block, budget_bytes);
    if (block_device_open(
            block, &(struct device_spec){.name = "layered", .image = "layer3", .format = "qcow2"},
            &err))
        fail_msg("%s", err.message);
    block_device_export(block, "layered");
    struct device *device = disk(block, "layered");
    assert_int_equal(device_size_bytes(device), SIZE_BYTES);

    run(block, device, flat, &random);
    struct node *top = index_top(device->index);
    flat_must_match_node(flat, top, "the chain");
    assert_in_range(block->index_memory.used_bytes, 1, budget_bytes + (64 << 10));
    char name[32];
    snprintf(name, sizeof(name), "%s", strrchr(top->path, '/') + 1);
    assert_int_equal(0, block_close(block, &err));
    flat_must_match_image(flat, name, "qcow2");
    image_must_be_clean(name);
    scratch_end(&unused);
}

static const struct fixture fixture = {0}; /* none */

TEST(with_memory)
{
    reads_match(INDEX_MEMORY_DEFAULT_BYTES);
}

TEST(without_memory)
{
    reads_match(0);
}
