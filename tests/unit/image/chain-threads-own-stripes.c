/* SPDX-License-Identifier: Apache-2.0
 *
 * Eight threads write, zero, discard, read and flush the same clusters at once, and none of them
 * ever sees or harms what another one did.
 *
 *     guest offset   0     4K    8K    12K          28K   32K   36K
 *     owner          | t0  | t1  | t2  | t3  | ...  | t7  | t0  | t1  | ...
 *
 * Clusters are larger than a stripe, so that copy-on-write, allocation and freeing of one cluster
 * are asked for by all threads together; a thread compares its own stripes with its own part of the
 * reference as it goes, and the whole disk is compared at the end, by the driver and by QEMU.
 * CHAIN_SEED repeats a run (but for the interleaving), CHAIN_OPERATIONS scales it.
 */
#include "tests/lib/testlib.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if TEST_SANITIZED
#define OPERATIONS_DEFAULT 16000
#else
#define OPERATIONS_DEFAULT 80000
#endif

enum { THREADS = 8, STRIPE_BYTES = 4096 };

struct worker {
    pthread_t thread;
    struct node *node;
    struct flat *flat;
    struct random random;
    unsigned number;
    uint64_t operations;
    char failure[FAILURE_BYTES];
};

static void worker_check(struct worker *w, uint64_t offset, uint64_t length)
{
    unsigned char buf[STRIPE_BYTES];
    int ret = node_read(w->node, buf, offset, length);
    if (ret || memcmp(buf, w->flat->bytes + offset, length) != 0)
        failure_note(w->failure, w->number, "read", offset, ret);
}

static void worker_write(struct worker *w, uint64_t offset, uint64_t length)
{
    random_fill(&w->random, w->flat->bytes + offset, length);
    int ret = node_write(w->node, w->flat->bytes + offset, offset, length);
    if (ret)
        failure_note(w->failure, w->number, "write", offset, ret);
}

static void worker_zero(struct worker *w, uint64_t offset, uint64_t length)
{
    memset(w->flat->bytes + offset, 0, length);
    int ret = node_zero(w->node, offset, length, random_chance(&w->random, 50));
    if (ret)
        failure_note(w->failure, w->number, "zero", offset, ret);
}

static void worker_discard(struct worker *w, uint64_t offset, uint64_t length)
{
    unsigned char buf[STRIPE_BYTES];
    unsigned char *old = w->flat->bytes + offset;
    int ret = node_discard(w->node, offset, length);
    if (ret == 0)
        ret = node_read(w->node, buf, offset, length);
    if (ret)
        failure_note(w->failure, w->number, "discard", offset, ret);
    for (uint64_t i = 0; i < length && !ret; i++)
        if (buf[i] != old[i] && buf[i] != 0)
            failure_note(w->failure, w->number, "discard", offset + i, 0);
    memcpy(old, buf, length);
}

static void worker_step(struct worker *w)
{
    uint64_t rows = w->flat->size_bytes / STRIPE_BYTES / THREADS;
    uint64_t row = random_below(&w->random, random_chance(&w->random, 50) ? 40 : rows);
    uint64_t offset = (row * THREADS + w->number) * STRIPE_BYTES, length = STRIPE_BYTES;
    if (random_chance(&w->random, 40)) {
        uint64_t skip = random_below(&w->random, STRIPE_BYTES);
        offset += skip;
        length = random_between(&w->random, 1, STRIPE_BYTES - skip);
    }
    uint64_t draw = random_below(&w->random, 1000);
    if (draw < 450)
        worker_write(w, offset, length);
    else if (draw < 700)
        worker_check(w, offset, length);
    else if (draw < 850)
        worker_zero(w, offset, length);
    else if (draw < 995)
        worker_discard(w, offset, length);
    else if (node_flush(w->node) != 0)
        failure_note(w->failure, w->number, "flush", offset, 0);
}

static void *worker_run(void *argument)
{
    struct worker *w = argument;
    for (uint64_t i = 0; i < w->operations && !w->failure[0]; i++)
        worker_step(w);
    return NULL;
}

static void workers_run(struct node *node, struct flat *flat, uint64_t seed, uint64_t operations)
{
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.node = node, .flat = flat, .number = i};
        workers[i].random = random_seeded(seed * THREADS + i);
        workers[i].operations = operations / THREADS;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        if (workers[i].failure[0])
            fail_msg("%s: %s", node->path, workers[i].failure);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(threads_own_stripes)
{
    const struct image_options variants[] = {
        {.cluster_bytes = 65536, .refcount_bits = 16},
        {.cluster_bytes = 65536, .refcount_bits = 16, .extended_l2 = true},
        {.cluster_bytes = 512, .refcount_bits = 64},
        {.cluster_bytes = 2 << 20, .refcount_bits = 1, .lazy_refcounts = true},
        {.cluster_bytes = 32768, .refcount_bits = 16, .version2 = true},
    };
    const unsigned count = sizeof(variants) / sizeof(*variants);
    uint64_t seed = environment_number("CHAIN_SEED", 20121);
    uint64_t operations = environment_number("CHAIN_OPERATIONS", OPERATIONS_DEFAULT) / count;
    uint64_t size = 8 << 20;
    printf("CHAIN_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < count; i++) {
        struct random random = random_seeded(seed + i);
        image_create("base.qcow2", &variants[0], size, NULL, NULL);
        image_fill("base.qcow2", size, 65536, &random);
        image_create("top.qcow2", &variants[i], size, "base.qcow2", "qcow2");
        image_fill("top.qcow2", size, variants[i].cluster_bytes, &random);
        CLEANUP(flat) struct flat *flat = image_truth("top.qcow2", "qcow2");
        struct node *node = chain_must_open("top.qcow2", "qcow2", false);
        workers_run(node, flat, seed, operations);
        flat_must_match_node(flat, node, "after the threads ended");
        node_must_close(&node);
        image_must_be_clean("top.qcow2");
        flat_must_match_image(flat, "top.qcow2", "qcow2");
    }
}
