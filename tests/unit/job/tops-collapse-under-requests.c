/* SPDX-License-Identifier: Apache-2.0
 *
 * Random chains collapse while two threads write, zero, discard, flush and read the device, through
 * stops, holds that end without a record, and the exchange: every request finds what was there, or
 * was done since. Afterwards the base alone is the disk, by QEMU's word. SEED repeats a run, ROUNDS
 * makes it longer. However much is written beside it, a collapse copies what was there before.
 */
#include "block/collapse.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WRITERS = 2, BYTES_MAX = 40000 };

struct scene;

/* Has a part of the disk to itself. */
struct writer {
    struct scene *scene;
    unsigned number;
    pthread_t thread;
    uint64_t start, end;
};

struct scene {
    struct block *block;
    struct random random;
    const char *format; /* of the base */
    struct flat *view;
    struct writer writers[WRITERS];
    atomic_bool is_done;
    atomic_uint_fast64_t requests;
};

static void must(int ret, const struct err *err)
{
    if (ret < 0)
        fail_msg("%s", err->message);
}

/* cmocka fails in the main thread only. */
static void writer_must(bool is_right, const char *what, uint64_t offset)
{
    if (is_right)
        return;
    fprintf(stderr, "%s at %" PRIu64 " is wrong\n", what, offset);
    abort();
}

/* Each byte reads as before, or as zero. */
static void adopt_discard(const unsigned char *buf, unsigned char *known, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++) {
        writer_must(buf[i] == known[i] || buf[i] == 0, "a discarded byte", i);
        known[i] = buf[i];
    }
}

static int write_some(struct device *device, const void *buf, uint64_t offset, uint64_t length,
                      struct random *random)
{
    if (random_chance(random, 50)) {
        int ret = device_write_cached(device, buf, offset, length);
        if (ret != -EAGAIN)
            return ret;
    }
    return device_write(device, buf, offset, length, random_chance(random, 5) ? IO_FUA : 0);
}

static void writer_step(struct writer *writer, struct random *random, unsigned char *buf)
{
    struct scene *scene = writer->scene;
    struct device *device = disk(scene->block, "a");
    uint64_t offset = random_between(random, writer->start, writer->end - 1);
    uint64_t length = random_between(random, 1, BYTES_MAX);
    if (length > writer->end - offset)
        length = writer->end - offset;
    unsigned char *known = scene->view->bytes + offset;
    writer_must(device_read(device, buf, offset, length) == 0, "a read", offset);
    writer_must(memcmp(buf, known, length) == 0, "what was read", offset);
    switch (random_below(random, 8)) {
    case 0:
        writer_must(device_zero(device, offset, length, IO_NO_HOLE) == 0, "a zero", offset);
        memset(known, 0, length);
        return;
    case 1:
        writer_must(device_zero(device, offset, length, 0) == 0, "an unmap", offset);
        memset(known, 0, length);
        return;
    case 2:
        writer_must(device_discard(device, offset, length, 0) == 0, "a discard", offset);
        writer_must(device_read(device, buf, offset, length) == 0, "a read", offset);
        adopt_discard(buf, known, length);
        return;
    case 3:
        writer_must(device_flush(device) == 0, "a flush", offset);
        return;
    default:
        random_fill(random, buf, length);
        memcpy(known, buf, length);
        writer_must(write_some(device, buf, offset, length, random) == 0, "a write", offset);
    }
}

static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    struct random random = random_seeded(writer->number + 77);
    CLEANUP_FREE unsigned char *buf = malloc(BYTES_MAX);
    while (!atomic_load(&writer->scene->is_done)) {
        writer_step(writer, &random, buf);
        atomic_fetch_add(&writer->scene->requests, 1);
    }
    return NULL;
}

static void let_others_go_on(struct scene *scene, uint64_t count)
{
    uint64_t until = atomic_load(&scene->requests) + count;
    while (atomic_load(&scene->requests) < until)
        sched_yield();
}

/* [given.img <-] base.img <- a.img, the top of device a */
static void scene_create(struct scene *scene)
{
    struct random *random = &scene->random;
    struct err err = {.message = ""};
    struct image_options options = image_options_random(random, 0);
    uint64_t size = random_between(random, 200, 6000) * 512;
    uint64_t base_size = random_chance(random, 30) ? size - 512 * random_below(random, 100) : size;
    bool has_given = random_chance(random, 30), is_raw = !has_given && random_chance(random, 40);
    scene->format = is_raw ? "raw" : "qcow2";
    shell("rm -rf *.img run && mkdir -m 700 run");
    if (has_given) {
        image_create("given.img", &options, base_size, NULL, NULL);
        image_fill("given.img", base_size, options.cluster_bytes, random);
        options = image_options_random(random, 0);
    }
    if (is_raw) {
        shell("truncate -s %ju base.img", (uintmax_t)base_size);
        shell("qemu-io -f raw -c 'write -q -P 5 0 %ju' base.img", (uintmax_t)base_size / 2);
    } else {
        image_create("base.img", &options, base_size, has_given ? "given.img" : NULL, "qcow2");
        image_fill("base.img", base_size, options.cluster_bytes, random);
    }
    options = image_options_random(random, 0);
    image_create("a.img", &options, size, "base.img", scene->format);
    image_fill("a.img", size, options.cluster_bytes, random);
    scene->view = image_truth("a.img", "qcow2");
    scene->block = journals_must_open();
    struct device_spec spec = {.name = "a", .image = "a.img", .format = "qcow2"};
    must(block_device_open(scene->block, &spec, &err), &err);
    block_device_export(scene->block, "a");
    for (unsigned i = 0; i < WRITERS; i++)
        scene->writers[i] = (struct writer){.scene = scene,
                                            .number = i,
                                            .start = size / WRITERS * i,
                                            .end = size / WRITERS * (i + 1)};
}

static struct merge *merge_must_open(struct scene *scene)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("base.img"), *upper = scratch_path("a.img");
    const struct merge_image base = {lower, scene->format, NULL}, top = {upper, "qcow2", NULL};
    struct merge *merge = merge_open(scene->block, &base, &top, &err);
    must(merge ? 0 : -1, &err);
    return merge;
}

static void copy_all(struct scene *scene, struct collapse *collapse)
{
    struct err err = {.message = ""};
    uint64_t offset = 0, copied;
    int ret;
    while ((ret = collapse_copy(collapse, &offset, &copied, &err)) == 0)
        if (random_chance(&scene->random, 10))
            let_others_go_on(scene, 3);
    must(ret, &err);
    assert_int_equal(1, ret);
}

/* Once without the exchange: true; with it: false. */
static bool collapse_is_given_up(struct scene *scene)
{
    struct err err = {.message = ""};
    struct merge *merge = merge_must_open(scene);
    struct collapse *collapse = NULL;
    uint64_t offset = 0, copied, how = random_below(&scene->random, 4);
    int ret = collapse_begin(merge, &collapse, &err);
    must(ret, &err);
    assert_int_equal(0, ret);
    if (how == 0) {
        must(collapse_copy(collapse, &offset, &copied, &err), &err);
    } else {
        copy_all(scene, collapse);
        must(collapse_hold(collapse, &err), &err);
        let_others_go_on(scene, 10);
        if (how == 1)
            collapse_release(collapse);
        else
            collapse_commit(collapse);
        let_others_go_on(scene, 10);
    }
    must(collapse_end(collapse, &err), &err);
    merge_close(merge);
    return how <= 1;
}

/* The base is the top now, and has all that was written. */
static void scene_end(struct scene *scene)
{
    struct err err = {.message = ""};
    CLEANUP(node) struct node *top = device_top(disk(scene->block, "a"));
    CLEANUP_FREE char *base = scratch_path("base.img");
    assert_string_equal(base, top->path);
    assert_int_equal(NODE_WRITABLE, node_state(top));
    node_unref(steal(top));
    must(block_device_close(scene->block, "a", &err), &err);
    must(block_close(scene->block, &err), &err);
    assert_int_equal(0, shell_status("test -z \"$(ls run/journals)\""));
    flat_must_match_image(scene->view, "base.img", scene->format);
    if (strcmp(scene->format, "qcow2") == 0)
        image_must_be_clean("base.img");
    flat_free(scene->view);
}

static void scene_run(struct scene *scene)
{
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(
            0, pthread_create(&scene->writers[i].thread, NULL, writer_run, &scene->writers[i]));
    while (collapse_is_given_up(scene))
        let_others_go_on(scene, 20);
    shell("rm a.img");
    let_others_go_on(scene, 50);
    atomic_store(&scene->is_done, true);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(scene->writers[i].thread, NULL);
    scene_end(scene);
}

static const struct fixture fixture = {.begin = scratch_begin, .end = scratch_end};

TEST(no_request_sees_a_collapse)
{
    (void)state;
    uint64_t seed = environment_number("SEED", 1);
    uint64_t rounds = environment_number("ROUNDS", TEST_SANITIZED ? 6 : 15);
    for (uint64_t i = 0; i < rounds; i++) {
        struct scene scene = {.random = random_seeded(seed + i)};
        scene_create(&scene);
        scene_run(&scene);
    }
}

enum { CLUSTER = 64 << 10, CLUSTERS = 256 };

/* The top, a.img, holds the first cluster of the disk and the last one; base.img every second. */
static void scene_create_wide(struct scene *scene)
{
    struct err err = {.message = ""};
    const struct device_spec spec = {.name = "a", .image = "a.img", .format = "qcow2"};
    scene->format = "qcow2";
    shell("rm -rf *.img run && mkdir -m 700 run");
    shell("qemu-img create -q -f qcow2 base.img %d", CLUSTERS * CLUSTER);
    shell("for i in $(seq 0 2 %d); do echo write -q -P 5 $((i * %d)) %d; done | "
          "qemu-io base.img > output",
          CLUSTERS - 1, CLUSTER, CLUSTER);
    shell("qemu-img create -q -f qcow2 -b base.img -F qcow2 a.img");
    shell("qemu-io -c 'write -q -P 1 0 %d' -c 'write -q -P 1 %d %d' a.img", CLUSTER,
          (CLUSTERS - 1) * CLUSTER, CLUSTER);
    scene->view = image_truth("a.img", "qcow2");
    scene->block = journals_must_open();
    must(block_device_open(scene->block, &spec, &err), &err);
    block_device_export(scene->block, "a");
}

static void write_sector(struct scene *scene, uint64_t offset)
{
    unsigned char bytes[512];
    random_fill(&scene->random, bytes, sizeof(bytes));
    memcpy(scene->view->bytes + offset, bytes, sizeof(bytes));
    assert_int_equal(0, device_write(disk(scene->block, "a"), bytes, offset, sizeof(bytes), 0));
}

/* Ahead of what is copied, always. */
static uint64_t copy_beside_writes(struct scene *scene, struct collapse *collapse)
{
    struct err err = {.message = ""};
    uint64_t offset = 0, copied, copied_all = 0;
    int next = 1, ret;
    do {
        for (int i = 0; i < 5 && next < CLUSTERS - 1; i++)
            write_sector(scene, (uint64_t)next++ * CLUSTER + CLUSTER / 2);
        ret = collapse_copy(collapse, &offset, &copied, &err);
        copied_all += ret == 0 ? copied : 0;
    } while (ret == 0);
    must(ret, &err);
    return copied_all;
}

TEST(what_is_written_meanwhile_is_not_copied)
{
    (void)state;
    struct err err = {.message = ""};
    struct scene scene = {.random = random_seeded(1)};
    struct collapse *collapse;
    scene_create_wide(&scene);
    struct merge *merge = merge_must_open(&scene);
    assert_int_equal(0, collapse_begin(merge, &collapse, &err));
    assert_int_equal(2 * CLUSTER, copy_beside_writes(&scene, collapse));
    must(collapse_hold(collapse, &err), &err);
    collapse_commit(collapse);
    must(collapse_end(collapse, &err), &err);
    merge_close(merge);
    scene_end(&scene);
}
