/* SPDX-License-Identifier: Apache-2.0
 *
 * A frozen image that is thawed under its readers is written only where a frozen image above it
 * holds something. What lies elsewhere never changes, for whoever reads it:
 *
 *     the chain        upper <- lower <- base, through the maps as they are
 *     lower's bytes    where upper holds nothing
 *     stale extents    of lower, mapped before the first thaw: the bytes in the file stay, although
 *                      clusters move, until node_release_freed()
 *
 * Thaw and freeze are repeated, the freed space released at the end only; then QEMU finds no error
 * and no leak. CHAIN_SEED repeats a run.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SIZE_BYTES = 3 << 20, READERS = 3, RUNS_MAX = 16384, THAWS = 3, TEXT_BYTES = 300 };

struct run {
    uint64_t offset, length, host; /* host: of stale data; EXTENT_NO_HOST if there are none */
};

struct scene {
    struct node *upper, *lower;
    struct flat *view, *below; /* of upper and of lower */
    struct run masked[RUNS_MAX], open[RUNS_MAX];
    size_t masked_count, open_count;
    uint64_t changes;
    atomic_bool is_done;
    char what[TEXT_BYTES];
};

static void expect_same(const struct scene *scene, const char *who, const void *found,
                        const unsigned char *expected, uint64_t offset, uint64_t length)
{
    uint64_t good = bytes_first_difference(found, expected, length);
    if (good == length)
        return;
    fprintf(stderr, "%s: %s: byte %" PRIu64 " has changed\n", scene->what, who, offset + good);
    abort(); /* cmocka fails in the main thread only */
}

static void read_chain(struct scene *scene, struct random *random, unsigned char *buf)
{
    uint64_t offset = random_below(random, SIZE_BYTES);
    uint64_t length = 1 + random_below(random, 100000);
    if (length > SIZE_BYTES - offset)
        length = SIZE_BYTES - offset;
    if (node_read(scene->upper, buf, offset, length) != 0)
        abort();
    expect_same(scene, "the chain", buf, scene->view->bytes + offset, offset, length);
}

static void read_open(struct scene *scene, struct random *random, unsigned char *buf)
{
    const struct run *run = &scene->open[random_below(random, scene->open_count)];
    const unsigned char *expected = scene->below->bytes + run->offset;
    uint64_t length = run->length < 100000 ? run->length : 100000;
    if (node_read(scene->lower, buf, run->offset, length) != 0)
        abort();
    expect_same(scene, "the lower image", buf, expected, run->offset, length);
    if (run->host == EXTENT_NO_HOST)
        return;
    if (file_read_padded(scene->lower->fd, buf, run->host, length) != 0)
        abort();
    expect_same(scene, "a stale extent", buf, expected, run->offset, length);
}

static void *reader_run(void *arg)
{
    struct scene *scene = arg;
    static atomic_uint seed;
    struct random random = random_seeded(atomic_fetch_add(&seed, 1));
    CLEANUP_FREE unsigned char *buf = malloc(100001);
    while (!atomic_load(&scene->is_done)) {
        read_chain(scene, &random, buf);
        if (scene->open_count)
            read_open(scene, &random, buf);
        node_end_journal(scene->lower, false); /* as the detach of a device of the chain does */
    }
    return NULL;
}

static void run_add(struct run *runs, size_t *count, uint64_t offset, uint64_t length,
                    uint64_t host)
{
    assert_true(*count < RUNS_MAX);
    runs[(*count)++] = (struct run){offset, length, host};
}

/* The extents of the lower image in a range where the upper one has nothing. */
static void scene_map_open(struct scene *scene, uint64_t offset, uint64_t end)
{
    while (offset < end) {
        struct extent extent = {.length = end - offset};
        assert_int_equal(scene->lower->driver->map(scene->lower, offset, 0, &extent), 0);
        run_add(scene->open, &scene->open_count, offset, extent.length,
                extent.kind == EXTENT_DATA ? extent.host : EXTENT_NO_HOST);
        offset += extent.length;
    }
}

static void scene_map(struct scene *scene)
{
    for (uint64_t at = 0; at < SIZE_BYTES;) {
        struct extent extent = {.length = SIZE_BYTES - at};
        assert_int_equal(scene->upper->driver->map(scene->upper, at, 0, &extent), 0);
        if (extent.kind == EXTENT_BACKING)
            scene_map_open(scene, at, at + extent.length);
        else
            run_add(scene->masked, &scene->masked_count, at, extent.length, EXTENT_NO_HOST);
        at += extent.length;
    }
    assert_true(scene->masked_count > 0);
}

static void scene_change(struct scene *scene, struct random *random, const unsigned char *bytes)
{
    const struct run *run = &scene->masked[random_below(random, scene->masked_count)];
    uint64_t from = random_chance(random, 50) ? 0 : random_below(random, run->length);
    uint64_t length = random_chance(random, 50) ? run->length - from
                                                : 1 + random_below(random, run->length - from);
    uint64_t draw = random_below(random, 100), offset = run->offset + from;
    if (length > 1 << 20)
        length = 1 << 20;
    if (draw < 60)
        assert_int_equal(node_write(scene->lower, bytes, offset, length), 0);
    else if (draw < 90)
        assert_int_equal(node_zero(scene->lower, offset, length, draw & 1), 0);
    else
        assert_int_equal(node_flush(scene->lower), 0);
}

static void scene_thaw(struct scene *scene, struct random *random, bool is_last)
{
    struct err err;
    CLEANUP_FREE unsigned char *bytes = malloc(1 << 20);
    random_fill(random, bytes, 1 << 20);
    assert_int_equal(node_write(scene->lower, bytes, 0, 1), -EROFS);
    if (node_thaw(scene->lower, -1, &err) != 0)
        fail_msg("%s: %s", scene->what, err.message);
    for (uint64_t i = 0; i < scene->changes; i++)
        scene_change(scene, random, bytes);
    if (is_last) { /* with the readers, and the stale extents, gone */
        atomic_store(&scene->is_done, true);
        return;
    }
    assert_int_equal(node_freeze(scene->lower), 0);
}

static void scene_create(struct scene *scene, struct random *random)
{
    bool is_raw = random_chance(random, 20);
    struct image_options lower = image_options_random(random, 0);
    struct image_options upper = image_options_random(random, 0);
    shell("rm -f lower* base* upper*; qemu-img create -q -f raw base.raw %d; "
          "qemu-io -f raw -c 'write -P 66 0 %d' base.raw",
          SIZE_BYTES, SIZE_BYTES / 3 * 2 / 512 * 512);
    snprintf(scene->what, TEXT_BYTES, "lower %s", is_raw ? "raw" : image_options_text(&lower));
    if (is_raw) {
        shell("mv base.raw lower");
    } else {
        image_create("lower", &lower, SIZE_BYTES, random_chance(random, 50) ? "base.raw" : NULL,
                     "raw");
        image_fill("lower", SIZE_BYTES, lower.cluster_bytes, random);
        if (random_chance(random, 40) && image_snapshot("lower", "one"))
            image_fill("lower", SIZE_BYTES / 2, lower.cluster_bytes, random);
    }
    scene->below = image_truth("lower", is_raw ? "raw" : "qcow2");
    image_create("upper", &upper, SIZE_BYTES, "lower", is_raw ? "raw" : "qcow2");
    image_fill("upper", SIZE_BYTES, upper.cluster_bytes, random);
    scene->view = image_truth("upper", "qcow2");
    scene->upper = chain_must_open("upper", "qcow2", true);
    scene->lower = scene->upper->backing;
}

static void scene_run(uint64_t seed)
{
    struct random random = random_seeded(seed);
    struct scene *scene = calloc(1, sizeof(*scene));
    pthread_t readers[READERS];
    assert_non_null(scene);
    scene_create(scene, &random);
    scene_map(scene);
    scene->changes = TEST_SANITIZED ? 60 : 150;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader_run, scene), 0);
    for (int i = 0; i < THAWS; i++)
        scene_thaw(scene, &random, i + 1 == THAWS);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    node_release_freed(scene->lower);
    assert_int_equal(node_freeze(scene->lower), 0);
    flat_must_match_node(scene->view, scene->upper, scene->what);
    bool is_qcow2 = scene->lower->driver == &driver_qcow2;
    node_unref(scene->upper);
    flat_must_match_image(scene->view, "upper", "qcow2");
    if (is_qcow2)
        image_must_be_clean("lower");
    flat_free(scene->view);
    flat_free(scene->below);
    free(scene);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(what_is_not_masked_never_changes)
{
    uint64_t seed = environment_number("CHAIN_SEED", 20131);
    uint64_t rounds = environment_number("CHAIN_ROUNDS", TEST_SANITIZED ? 6 : 12);
    for (uint64_t i = 0; i < rounds; i++)
        scene_run(seed + i);
}

/* A cluster that a push moved is counted until its release: nothing else can get it. */
TEST(freed_space_waits_for_its_release)
{
    struct err err;
    shell("qemu-img create -q -f qcow2 -o cluster_size=64k lower 1M && "
          "qemu-io -f qcow2 -c 'write -c -P 1 0 64k' lower");
    struct node *lower = chain_must_open("lower", "qcow2", true);
    assert_int_equal(node_thaw(lower, -1, &err), 0);
    assert_int_equal(node_write(lower, "x", 0, 1), 0); /* decompressed into another cluster */
    assert_int_equal(node_freeze(lower), 0);
    assert_int_equal(shell_status("qemu-img check -q -U lower"), 3); /* leaks */
    assert_int_equal(node_thaw(lower, -1, &err), 0);
    node_release_freed(lower);
    assert_int_equal(node_freeze(lower), 0);
    node_unref(lower);
    image_must_be_clean("lower");
}

TEST(dirty_and_corrupt_images_stay_frozen)
{
    struct err err;
    for (uint64_t bit = 1; bit <= 2; bit++) { /* dirty, corrupt */
        shell("rm -f lower; qemu-img create -q -f qcow2 lower 1M");
        image_poke("lower", 72, 8, bit);
        struct node *lower = chain_must_open("lower", "qcow2", true);
        assert_int_equal(node_thaw(lower, -1, &err), -1);
        assert_int_equal(err.code, ErrInvalidBlockFormat);
        assert_int_equal(node_write(lower, "x", 0, 1), -EROFS);
        node_unref(lower);
        assert_int_equal(image_peek("lower", 72, 8), bit);
    }
}

TEST(an_image_whose_sync_failed_stays_frozen)
{
    struct err err;
    shell("rm -f lower; qemu-img create -q -f qcow2 lower 1M");
    struct node *lower = chain_must_open("lower", "qcow2", true);
    atomic_store(&lower->sync_error, EIO);
    assert_int_equal(node_thaw(lower, -1, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    node_unref(lower);
}
