/* SPDX-License-Identifier: Apache-2.0
 *
 * What has changed between two frozen members is asked again and again while images between them
 * are merged: at each moment every byte that differs is told, what is told to be zeros is, and what
 * is told is what was told before, as a merge unites what its images say. SEED repeats a run.
 *
 *     older <- lower <- middle <- upper <- newer          upper is merged into lower
 */
#include "block/device/exports.h"
#include "block/frozen.h"
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { IMAGES = 5, OLDER = 0, UPPER = 3, NEWER = 4, SECTORS_MAX = 6000 };

static const char *const names[IMAGES] = {"older", "lower", "middle", "upper", "newer"};

struct scene {
    struct block *block;
    uint64_t size_bytes;
    struct flat *views[IMAGES];
    bool told[SECTORS_MAX]; /* of newer since older, before the merge */
    atomic_bool is_done;
    atomic_uint_fast64_t rounds;
};

static void must(int ret, const struct err *err)
{
    if (ret)
        fail_msg("%s", err->message);
}

static void complain(const char *what, uint64_t offset)
{
    fprintf(stderr, "%" PRIu64 " %s\n", offset, what);
    abort(); /* cmocka fails in the main thread only */
}

/* What has changed in `newer` since that image; each byte that differs must be told. */
static void compare(struct scene *scene, unsigned since, bool *told)
{
    struct err err;
    char name[32];
    snprintf(name, sizeof(name), "d@%s", names[since]);
    struct device *newer = export_use(scene->block, "d@newer", NULL, &err);
    struct device *older = export_use(scene->block, name, NULL, &err);
    const unsigned char *now = scene->views[NEWER]->bytes, *then = scene->views[since]->bytes;
    if (!newer || !older)
        complain(err.message, 0);
    for (uint64_t at = 0; at < scene->size_bytes;) {
        struct device_difference found = {.length = scene->size_bytes - at};
        if (device_map_since(newer, older, at, &found) != 0)
            complain("cannot be mapped", at);
        if (!found.is_changed && memcmp(now + at, then + at, found.length) != 0)
            complain("has changed, and is not told", at);
        if (found.is_zero && !bytes_are_zero(now + at, found.length))
            complain("is told to be zeros, is not", at);
        for (uint64_t end = at + found.length; at < end; at += 512)
            told[at / 512] = found.is_changed;
    }
    export_unuse(scene->block, older);
    export_unuse(scene->block, newer);
}

static void *asker_run(void *arg)
{
    struct scene *scene = arg;
    bool told[SECTORS_MAX] = {false};
    while (!atomic_load(&scene->is_done)) {
        compare(scene, UPPER, told);
        compare(scene, OLDER, told);
        for (uint64_t i = 0; i < scene->size_bytes / 512; i++)
            if (told[i] != scene->told[i])
                complain(told[i] ? "is told now" : "is not told any more", i * 512);
        atomic_fetch_add(&scene->rounds, 1);
    }
    return NULL;
}

static void scene_create(struct scene *scene, struct random *random)
{
    struct err err = {.message = ""};
    scene->size_bytes = random_between(random, 1, SECTORS_MAX) * 512;
    shell("rm -f *.img");
    for (size_t i = 0; i < IMAGES; i++) {
        char image[32], below[32] = "";
        struct image_options options = image_options_random(random, 0);
        snprintf(image, sizeof(image), "%s.img", names[i]);
        if (i)
            snprintf(below, sizeof(below), "%s.img", names[i - 1]);
        image_create(image, &options, scene->size_bytes, i ? below : NULL, "qcow2");
        image_fill(image, scene->size_bytes, options.cluster_bytes, random);
        scene->views[i] = image_truth(image, "qcow2");
        CLEANUP_FREE char *path = scratch_path(image);
        if (i == OLDER || i >= UPPER)
            must(block_frozen_add(scene->block, "d", names[i], image, path, NULL, "qcow2", NULL,
                                  &err),
                 &err);
    }
    compare(scene, OLDER, scene->told);
}

/* Until the other thread has asked once more. */
static void let_ask(struct scene *scene)
{
    uint64_t until = atomic_load(&scene->rounds) + 2;
    while (atomic_load(&scene->rounds) < until)
        sched_yield();
}

/* While an export is being opened, an image may have two users for a moment. */
static struct merge *merge_must_begin(struct scene *scene, const struct merge_image *base,
                                      const struct merge_image *top)
{
    for (;;) {
        struct err err = {.message = ""};
        struct merge *merge = merge_open(scene->block, base, top, &err);
        if (merge && merge_begin(merge, &err) == 0)
            return merge;
        if (merge)
            merge_close(merge);
        if (err.code != ErrDeviceInUse)
            fail_msg("%s", err.message);
        sched_yield();
    }
}

static void scene_merge(struct scene *scene)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("lower.img"), *upper = scratch_path("upper.img");
    CLEANUP_FREE char *newer = scratch_path("newer.img");
    const struct merge_image base = {lower, "qcow2", NULL}, top = {upper, "qcow2", NULL};
    const struct merge_image child = {newer, "qcow2", NULL};
    struct merge *merge = merge_must_begin(scene, &base, &top);
    uint64_t offset = 0, copied;
    int ret;
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0)
        let_ask(scene);
    must(ret < 0, &err);
    must(merge_flush(merge, &err), &err);
    must(merge_rename(merge, &child, &err), &err);
    let_ask(scene);
    must(merge_redirect(merge, &err), &err);
    let_ask(scene);
    must(merge_end(merge, &err), &err);
    merge_close(merge);
    shell("rm upper.img middle.img");
    let_ask(scene);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(nothing_is_missed_at_any_moment)
{
    uint64_t seed = environment_number("SEED", 1);
    uint64_t rounds = environment_number("ROUNDS", TEST_SANITIZED ? 3 : 10);
    for (uint64_t i = 0; i < rounds; i++) {
        struct err err;
        struct random random = random_seeded(seed + i);
        CLEANUP_FREE struct scene *scene = calloc(1, sizeof(*scene));
        pthread_t asker;
        scene->block = block_open(scratch_dir(), &err);
        assert_non_null(scene->block);
        scene_create(scene, &random);
        assert_int_equal(pthread_create(&asker, NULL, asker_run, scene), 0);
        scene_merge(scene);
        atomic_store(&scene->is_done, true);
        pthread_join(asker, NULL);
        assert_int_equal(0, block_close(scene->block, &err));
        for (size_t j = 0; j < IMAGES; j++)
            flat_free(scene->views[j]);
    }
}
