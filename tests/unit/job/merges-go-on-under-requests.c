/* SPDX-License-Identifier: Apache-2.0
 *
 * Random chains are merged while threads read one device and write another, through the push, its
 * stops, the new names in the headers and the redirection: every read returns what was there, or
 * what was written since. SEED repeats a run, ROUNDS makes it longer.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { READ_BYTES_MAX = 150000, WRITE_BYTES_MAX = 20000 };

struct scene {
    struct block *block;
    struct random random;
    struct flat *views[2]; /* of the devices a and b */
    atomic_bool is_done;
    atomic_uint_fast64_t requests;
};

static void expect_same(const char *who, const void *found, const unsigned char *expected,
                        uint64_t offset, uint64_t length)
{
    uint64_t good = bytes_first_difference(found, expected, length);
    if (good == length)
        return;
    fprintf(stderr, "%s: byte %" PRIu64 " has changed\n", who, offset + good);
    abort(); /* cmocka fails in the main thread only */
}

/* Reads a random range of a device into `buf`, and compares it. */
static void read_some(struct scene *scene, unsigned i, struct random *random, uint64_t most,
                      unsigned char *buf, uint64_t *offset, uint64_t *length)
{
    const char *const names[] = {"a", "b"};
    const struct flat *view = scene->views[i];
    *offset = random_below(random, view->size_bytes);
    *length = 1 + random_below(random, most);
    if (*length > view->size_bytes - *offset)
        *length = view->size_bytes - *offset;
    if (device_read(disk(scene->block, names[i]), buf, *offset, *length) != 0)
        abort();
    expect_same(names[i], buf, view->bytes + *offset, *offset, *length);
    atomic_fetch_add(&scene->requests, 1);
}

static void *reader_run(void *arg)
{
    struct scene *scene = arg;
    struct random random = random_seeded(3);
    uint64_t offset, length;
    CLEANUP_FREE unsigned char *buf = malloc(READ_BYTES_MAX);
    while (!atomic_load(&scene->is_done))
        read_some(scene, 1, &random, READ_BYTES_MAX, buf, &offset, &length);
    return NULL;
}

static void *writer_run(void *arg)
{
    struct scene *scene = arg;
    struct random random = random_seeded(5);
    uint64_t offset, length;
    CLEANUP_FREE unsigned char *buf = malloc(WRITE_BYTES_MAX);
    while (!atomic_load(&scene->is_done)) {
        struct device *device = disk(scene->block, "a");
        read_some(scene, 0, &random, WRITE_BYTES_MAX, buf, &offset, &length);
        random_fill(&random, buf, length);
        memcpy(scene->views[0]->bytes + offset, buf, length);
        if (device_write(device, buf, offset, length, 0) != 0 ||
            (random_chance(&random, 5) && device_flush(device) != 0))
            abort();
    }
    return NULL;
}

/* lower <- middle <- upper <- a, b */
static void scene_create(struct scene *scene)
{
    static const char *const names[] = {"lower", "middle", "upper", "a", "b"};
    static const char *const below[] = {"", "lower.img", "middle.img", "upper.img", "upper.img"};
    struct random *random = &scene->random;
    struct err err = {.message = ""};
    uint64_t size = random_between(random, 1, 6000) * 512;
    shell("rm -f *.img");
    for (size_t i = 0; i < 5; i++) {
        char image[32];
        struct image_options options = image_options_random(random, 0);
        snprintf(image, sizeof(image), "%s.img", names[i]);
        image_create(image, &options, size, i ? below[i] : NULL, "qcow2");
        image_fill(image, size, options.cluster_bytes, random);
        if (i < 3)
            continue;
        struct device_spec spec = {.name = names[i], .image = image, .format = "qcow2"};
        scene->views[i - 3] = image_truth(image, "qcow2");
        if (block_device_open(scene->block, &spec, &err) != 0)
            fail_msg("%s", err.message);
        block_device_export(scene->block, names[i]);
    }
}

static void must(int ret, const struct err *err)
{
    if (ret)
        fail_msg("%s", err->message);
}

static struct merge *merge_must_begin(struct scene *scene)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("lower.img"), *upper = scratch_path("upper.img");
    const struct merge_image base = {lower, "qcow2", NULL}, top = {upper, "qcow2", NULL};
    struct merge *merge = merge_open(scene->block, &base, &top, &err);
    must(merge ? merge_begin(merge, &err) : -1, &err);
    return merge;
}

/* Until the others have made that many requests more. */
static void let_others_go_on(struct scene *scene, uint64_t count)
{
    uint64_t until = atomic_load(&scene->requests) + count;
    while (atomic_load(&scene->requests) < until)
        sched_yield();
}

static struct merge *push(struct scene *scene)
{
    struct err err = {.message = ""};
    struct merge *merge = merge_must_begin(scene);
    uint64_t offset = 0, flushed = 0, copied;
    int ret;
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0) {
        if (random_chance(&scene->random, 10))
            let_others_go_on(scene, 2);
        if (random_chance(&scene->random, 5)) {
            must(merge_flush(merge, &err), &err);
            flushed = offset;
        }
        if (random_chance(&scene->random, 5)) {
            must(merge_end(merge, &err), &err);
            merge_close(merge);
            merge = merge_must_begin(scene);
            offset = flushed;
        }
    }
    must(ret < 0, &err);
    must(merge_flush(merge, &err), &err);
    return merge;
}

static void take_its_place(struct scene *scene, struct merge *merge)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *a = scratch_path("a.img"), *b = scratch_path("b.img");
    const struct merge_image children[] = {{a, "qcow2", NULL}, {b, "qcow2", NULL}};
    for (size_t i = 0; i < 2; i++)
        must(merge_rename(merge, &children[i], &err), &err);
    must(merge_redirect(merge, &err), &err);
    let_others_go_on(scene, 5);
    must(merge_end(merge, &err), &err);
    merge_close(merge);
    shell("rm upper.img middle.img");
    let_others_go_on(scene, 20);
}

static void scene_run(struct scene *scene)
{
    struct err err = {.message = ""};
    pthread_t reader, writer;
    assert_int_equal(pthread_create(&reader, NULL, reader_run, scene), 0);
    assert_int_equal(pthread_create(&writer, NULL, writer_run, scene), 0);
    take_its_place(scene, push(scene));
    atomic_store(&scene->is_done, true);
    pthread_join(reader, NULL);
    pthread_join(writer, NULL);
    must(block_device_close(scene->block, "a", &err), &err);
    must(block_device_close(scene->block, "b", &err), &err);
    flat_must_match_image(scene->views[0], "a.img", "qcow2");
    flat_must_match_image(scene->views[1], "b.img", "qcow2");
    image_must_be_clean("a.img");
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(no_request_sees_a_merge)
{
    uint64_t seed = environment_number("SEED", 1);
    uint64_t rounds = environment_number("ROUNDS", TEST_SANITIZED ? 4 : 12);
    for (uint64_t i = 0; i < rounds; i++) {
        struct scene scene = {.block = *state, .random = random_seeded(seed + i)};
        scene_create(&scene);
        scene_run(&scene);
        flat_free(scene.views[0]);
        flat_free(scene.views[1]);
    }
}
