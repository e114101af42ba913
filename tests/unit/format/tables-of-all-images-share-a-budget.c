/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of all images are kept within one budget, however many images there are: one that
 * loads more has others evict theirs, also while they are read and written. What is read stays
 * right, what was written is there, and the last image takes the last table with it.
 */
#include "block/image/table-memory.h"
#include "tests/lib/testlib.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    IMAGES = 12, /* the first half is only read */
    READERS = 3,
    SIZE_BYTES = 1 << 20,
    CLUSTER_BYTES = 512, /* so that a table maps 32 KiB */
    BUDGET_BYTES = 32 << 10,
    SPARE_BYTES = 16 << 10, /* what several threads load at once */
    ROUNDS = TEST_SANITIZED ? 20 : 100,
    READS = TEST_SANITIZED ? 2000 : 20000,
};

static const struct fixture fixture = {.begin = scratch_begin, .end = scratch_end};

struct scene {
    struct node *nodes[IMAGES];
    struct flat *flats[IMAGES];
    atomic_uint wrong;
    atomic_uint_least64_t used_most;
};

struct reader {
    struct scene *scene;
    struct random random;
    pthread_t thread;
};

static uint64_t used(void)
{
    uint64_t used_bytes, budget_bytes;
    table_memory_get(&used_bytes, &budget_bytes);
    return used_bytes;
}

static void scene_open(struct scene *scene, struct random *random)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        char name[16];
        const struct image_options options = {.cluster_bytes = CLUSTER_BYTES, .refcount_bits = 16};
        snprintf(name, sizeof(name), "%u.img", i);
        image_create(name, &options, SIZE_BYTES, NULL, NULL);
        shell("qemu-io -f qcow2 -c 'write -q -P %u 0 %d' %s", i + 1, SIZE_BYTES, name);
        image_fill(name, SIZE_BYTES, CLUSTER_BYTES, random);
        scene->flats[i] = image_truth(name, "qcow2");
        scene->nodes[i] = chain_must_open(name, "qcow2", i < IMAGES / 2);
    }
}

static void scene_close(struct scene *scene)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%u.img", i);
        flat_must_match_node(scene->flats[i], scene->nodes[i], name);
        if (i < IMAGES / 2)
            node_unref(scene->nodes[i]);
        else
            node_must_close(&scene->nodes[i]);
        flat_must_match_image(scene->flats[i], name, "qcow2");
        image_must_be_clean(name);
        flat_free(scene->flats[i]);
    }
}

static void *reader_run(void *arg)
{
    struct reader *reader = arg;
    struct scene *scene = reader->scene;
    for (unsigned i = 0; i < READS; i++) {
        unsigned image = (unsigned)random_below(&reader->random, IMAGES / 2);
        uint64_t offset = random_below(&reader->random, SIZE_BYTES - CLUSTER_BYTES);
        unsigned char bytes[CLUSTER_BYTES];
        if (node_read(scene->nodes[image], bytes, offset, sizeof(bytes)) != 0 ||
            memcmp(bytes, scene->flats[image]->bytes + offset, sizeof(bytes)) != 0)
            atomic_fetch_add(&scene->wrong, 1);
        uint64_t now = used(), most = atomic_load(&scene->used_most);
        while (now > most && !atomic_compare_exchange_weak(&scene->used_most, &most, now))
            ;
    }
    return NULL;
}

static void readers_start(struct scene *scene, struct reader *readers)
{
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){scene, random_seeded(i + 1), 0};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]), 0);
    }
}

static void readers_end(struct scene *scene, struct reader *readers)
{
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    assert_int_equal(atomic_load(&scene->wrong), 0);
}

static void images_exercise(struct scene *scene)
{
    static struct exercise exercises[IMAGES];
    for (unsigned i = IMAGES / 2; i < IMAGES; i++)
        exercises[i] = (struct exercise){.node = scene->nodes[i],
                                         .flat = scene->flats[i],
                                         .random = random_seeded(i),
                                         .cluster_bytes = CLUSTER_BYTES,
                                         .what = "a written image"};
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = IMAGES / 2; i < IMAGES; i++)
            exercise_step(&exercises[i]);
}

TEST(many_images_keep_to_one_budget)
{
    (void)state;
    struct scene scene = {.wrong = 0};
    struct reader readers[READERS];
    struct random random = random_seeded(7);
    uint64_t before, budget_bytes;
    table_memory_get(&before, &budget_bytes);
    assert_int_equal(before, 0);
    assert_int_equal(budget_bytes, TABLE_MEMORY_DEFAULT_BYTES);
    scene_open(&scene, &random);

    readers_start(&scene, readers); /* without a budget all fits */
    readers_end(&scene, readers);
    assert_true(used() > 2 * BUDGET_BYTES);

    table_memory_set(BUDGET_BYTES); /* which takes effect at once */
    assert_in_range(used(), 1, BUDGET_BYTES);
    atomic_store(&scene.used_most, 0);
    readers_start(&scene, readers);
    readers_end(&scene, readers);
    assert_in_range(atomic_load(&scene.used_most), BUDGET_BYTES / 2, BUDGET_BYTES + SPARE_BYTES);

    readers_start(&scene, readers); /* while others are written */
    images_exercise(&scene);
    readers_end(&scene, readers);

    scene_close(&scene);
    assert_int_equal(used(), 0);
    table_memory_set(TABLE_MEMORY_DEFAULT_BYTES);
}
