/* SPDX-License-Identifier: Apache-2.0
 *
 * A frozen image is pushed into one beneath it, in pieces, while the devices above it are read and
 * written. Random chains of raw and qcow2 images of many shapes; what each device and export must
 * give is what QEMU read from it before, with the writes since applied to a flat copy.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"
#include "block/merge.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS = TEST_SANITIZED ? 4 : 12 };

struct scene {
    struct block *block;
    struct random random;
    uint64_t size_bytes;
    const char *base_format;
    struct flat *views[3]; /* of device a, of device b, of export a@g: the image that is pushed */
};

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

/* lower <- middle ... <- upper <- a, b */
static void scene_create(struct scene *scene)
{
    struct random *random = &scene->random;
    scene->size_bytes = random_between(random, 1, 96) * 16384 + random_below(random, 32) * 512;
    shell("rm -f *.img lower.qcow2 a.qcow2 b.qcow2");
    bool is_raw = random_chance(random, 30);
    scene->base_format = is_raw ? "raw" : "qcow2";
    if (is_raw) {
        shell("truncate -s %ju lower.img", (uintmax_t)scene->size_bytes);
        shell("qemu-io -f raw -c 'write -q -P 5 0 %ju' lower.img",
              (uintmax_t)(scene->size_bytes / 2));
    }
    const char *const names[] = {"lower", "middle", "upper", "a", "b"};
    for (size_t i = is_raw; i < 5; i++) {
        char name[32], below[32] = "";
        struct image_options options = image_options_random(random, 0);
        snprintf(name, sizeof(name), "%s.img", names[i]);
        if (i > 0)
            snprintf(below, sizeof(below), "%s.img", names[i == 4 ? 2 : i - 1]);
        image_create(name, &options, scene->size_bytes, i ? below : NULL,
                     i == 1 ? scene->base_format : "qcow2");
        image_fill(name, scene->size_bytes, options.cluster_bytes ? options.cluster_bytes : 65536,
                   random);
    }
    scene->views[0] = image_truth("a.img", "qcow2");
    scene->views[1] = image_truth("b.img", "qcow2");
    scene->views[2] = image_truth("upper.img", "qcow2");
}

static void view_must_match(struct device *device, const struct flat *flat, const char *what)
{
    CLEANUP_FREE unsigned char *bytes = malloc(flat->size_bytes);
    assert_int_equal(0, device_read(device, bytes, 0, flat->size_bytes));
    uint64_t at = bytes_first_difference(bytes, flat->bytes, flat->size_bytes);
    if (at != flat->size_bytes)
        fail_msg("%s differs at %ju", what, (uintmax_t)at);
}

static void write_some(struct scene *scene, struct device *device, struct flat *flat)
{
    unsigned char bytes[8192];
    uint64_t length = random_between(&scene->random, 1, sizeof(bytes) / 512) * 512;
    if (length > flat->size_bytes)
        length = 512;
    uint64_t at = random_below(&scene->random, (flat->size_bytes - length) / 512 + 1) * 512;
    random_fill(&scene->random, bytes, length);
    assert_int_equal(0, device_write(device, bytes, at, length, 0));
    memcpy(flat->bytes + at, bytes, length);
}

static void views_must_match(struct scene *scene, struct device *export)
{
    struct device *a = disk(scene->block, "a"), *b = disk(scene->block, "b");
    write_some(scene, a, scene->views[0]);
    view_must_match(a, scene->views[0], "a");
    view_must_match(b, scene->views[1], "b");
    view_must_match(export, scene->views[2], "a@g");
}

static void must(int ret, const struct err *err)
{
    if (ret)
        fail_msg("%s", err->message);
}

static struct merge *merge_must_open(struct scene *scene)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("lower.img"), *upper = scratch_path("upper.img");
    const struct merge_image base = {lower, scene->base_format, NULL};
    const struct merge_image top = {upper, "qcow2", NULL};
    struct merge *merge = merge_open(scene->block, &base, &top, &err);
    if (!merge)
        fail_msg("%s", err.message);
    return merge;
}

/* Pushed in pieces; given up and begun again, from an earlier offset, now and then. */
static struct merge *push(struct scene *scene, struct device *export, struct merge_size *size)
{
    struct err err = {.message = ""};
    struct merge *merge = merge_must_open(scene);
    uint64_t offset = 0, flushed = 0, copied, sum = 0;
    bool is_whole = true;
    must(merge_measure(merge, size, &err), &err);
    must(merge_begin(merge, &err), &err);
    int ret;
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0) {
        sum += copied;
        if (random_chance(&scene->random, 10)) {
            must(merge_flush(merge, &err), &err);
            flushed = offset;
        }
        if (random_chance(&scene->random, 5)) {
            must(merge_end(merge, &err), &err);
            merge_close(merge);
            merge = merge_must_open(scene);
            must(merge_begin(merge, &err), &err);
            offset = flushed;
            is_whole = false;
        }
        if (random_chance(&scene->random, 30))
            views_must_match(scene, export);
    }
    must(ret < 0, &err);
    if (is_whole)
        assert_int_equal(size->copy_bytes, sum);
    must(merge_flush(merge, &err), &err);
    return merge;
}

static void take_its_place(struct scene *scene, struct merge *merge, struct device *export)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *a = scratch_path("a.img"), *b = scratch_path("b.img");
    const struct merge_image children[] = {{a, "qcow2", NULL}, {b, "qcow2", NULL}};
    for (size_t i = 0; i < 2; i++) {
        must(merge_can_rename(merge, &children[i], &err), &err);
        must(merge_rename(merge, &children[i], &err), &err);
        must(merge_rename(merge, &children[i], &err), &err); /* repeated */
        views_must_match(scene, export);
    }
    must(merge_redirect(merge, &err), &err);
    views_must_match(scene, export);
    must(merge_end(merge, &err), &err);
    merge_close(merge);
    views_must_match(scene, export);
}

static void scene_run(struct scene *scene)
{
    struct err err = {.message = ""};
    struct merge_size size;
    struct block *block = scene->block;
    disk_attach(block, "a", "a.img");
    disk_attach(block, "b", "b.img");
    CLEANUP_FREE char *upper = scratch_path("upper.img");
    must(block_frozen_add(block, "a", "g", "id", upper, NULL, "qcow2", NULL, &err), &err);
    struct device *export = export_use(block, "a@g", &(struct client_names){0}, &err);
    assert_non_null(export);
    struct merge *merge = push(scene, export, &size);
    take_its_place(scene, merge, export);
    assert_int_equal(0, descriptors_of("upper.img"));
    assert_int_equal(0, descriptors_of("middle.img"));
    shell("rm upper.img middle.img");
    export_unuse(block, export);
    export = export_use(block, "a@g", &(struct client_names){0}, &err); /* opened anew */
    if (!export)
        fail_msg("%s", err.message);
    view_must_match(export, scene->views[2], "a@g");
    export_unuse(block, export);
    disk_detach(block, "a");
    disk_detach(block, "b");
    flat_must_match_image(scene->views[0], "a.img", "qcow2");
    flat_must_match_image(scene->views[1], "b.img", "qcow2");
    flat_must_match_image(scene->views[2], "lower.img", scene->base_format);
    image_must_be_clean("a.img");
    if (strcmp(scene->base_format, "raw") != 0)
        shell("qemu-img check -q lower.img || test $? = 3"); /* leaks after what was given up */
}

TEST(test_random_chains)
{
    uint64_t seed = environment_number("SEED", 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        /* Exports are never removed from the list: a block layer for each chain. */
        struct err err;
        struct scene scene = {.block = block_open(scratch_dir(), &err),
                              .random = random_seeded(seed + round)};
        assert_non_null(scene.block);
        scene_create(&scene);
        scene_run(&scene);
        for (size_t i = 0; i < 3; i++)
            flat_free(scene.views[i]);
        block_close(scene.block, &err);
    }
}
