/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * Random requests to chains of 1 to 5 images read as a flat reference does, byte for byte, and QEMU
 * agrees.
 *
 *     layer 0      raw (any length) or qcow2         made and filled by QEMU, or by the driver
 *     layer 1..n   qcow2, any cluster size, options  any size beside that of its backing
 *     top          qcow2; on the way it is closed and opened again, given internal snapshots
 *                  (qemu-img), and frozen under new overlays
 *
 * At the end `qemu-img check` finds neither errors nor leaks, `qemu-img compare` calls the top
 * equal to the reference, and every frozen image and internal snapshot still holds what it held
 * then. CHAIN_SEED repeats a run, CHAIN_OPERATIONS scales it, CHAIN_SCENARIO runs only one of its
 * scenarios.
 */
#include "block/image/drivers.h"
#include "tests/lib/testlib.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if TEST_SANITIZED
#define OPERATIONS_DEFAULT 13000
#else
#define OPERATIONS_DEFAULT 208000
#endif

enum { SCENARIOS = 26, SAVED_MAX = 8, NAME_BYTES = 32 };

/* What an image, or an internal snapshot of it, must still hold at the end. */
struct saved {
    char image[NAME_BYTES], snapshot[NAME_BYTES];
    const char *format;
    struct flat *flat;
};

struct scenario {
    struct random random;
    struct exercise exercise; /* .node is the open top, .flat what it holds */
    struct image_options options;
    char what[32];
    char image[NAME_BYTES]; /* the latest layer */
    const char *format;
    unsigned layers;
    struct saved saved[SAVED_MAX];
    unsigned saved_count;
};

static void scenario_save(struct scenario *s, const char *snapshot)
{
    if (s->saved_count == SAVED_MAX)
        return;
    struct saved *saved = &s->saved[s->saved_count++];
    strcpy(saved->image, s->image);
    strcpy(saved->snapshot, snapshot);
    saved->format = s->format;
    saved->flat = flat_copy(s->exercise.flat, s->exercise.flat->size_bytes);
}

static uint64_t scenario_size(struct scenario *s, uint64_t cluster_bytes)
{
    uint64_t most = cluster_bytes * 600;
    if (most < 3 << 20)
        most = 3 << 20;
    if (most > 24 << 20)
        most = 24 << 20;
    uint64_t size = random_between(&s->random, most / 3, most);
    return size - size % BLOCK_SECTOR_BYTES;
}

/* A file with data and holes, of a length that need not be a multiple of a sector. */
static void layer_make_raw(struct scenario *s)
{
    uint64_t size = random_between(&s->random, 1 << 20, 8 << 20), rest = 0;
    if (random_chance(&s->random, 60))
        size -= size % BLOCK_SECTOR_BYTES;
    if (size % BLOCK_SECTOR_BYTES)
        rest = BLOCK_SECTOR_BYTES - size % BLOCK_SECTOR_BYTES;
    struct flat *flat = flat_new(size);
    for (int i = 0; i < 12; i++) {
        uint64_t offset = random_below(&s->random, size);
        uint64_t length = random_below(&s->random, 200000);
        random_fill(&s->random, flat->bytes + offset,
                    length < size - offset ? length : size - offset);
    }
    flat_save(flat, s->image);
    s->exercise.flat = flat_copy(flat, size + rest);
    s->format = "raw";
    s->exercise.cluster_bytes = 4096;
    flat_free(flat);
}

static void scenario_exercise(struct scenario *s, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        exercise_step(&s->exercise);
}

/* qemu-img takes an internal snapshot of the image, which is closed. */
static void scenario_snapshot(struct scenario *s, const char *snapshot)
{
    if (s->format[0] == 'q' && image_snapshot(s->image, snapshot))
        scenario_save(s, snapshot);
}

/* QEMU fills the image, so QEMU says what it holds. */
static void layer_fill_by_qemu(struct scenario *s, uint64_t size, bool recompress)
{
    image_fill(s->image, size, s->options.cluster_bytes, &s->random);
    if (recompress) {
        CLEANUP_FREE char *info =
            shell_output("qemu-img info %s | sed -n 's/^backing file: "
                         "\\([^ ]*\\).*/-B \\1/p;s/^backing file format:/-F/p'"
                         " | tr '\\n' ' '",
                         s->image);
        shell("qemu-img convert -f qcow2 -O qcow2 -c -o %s %s %s compressed.qcow2",
              image_options_text(&s->options), info, s->image);
        shell("mv compressed.qcow2 %s", s->image);
    }
    flat_free(s->exercise.flat);
    s->exercise.flat = image_truth(s->image, "qcow2");
    if (random_chance(&s->random, 30)) {
        scenario_snapshot(s, "made-by-qemu");
        image_fill(s->image, size, s->options.cluster_bytes, &s->random);
        flat_free(s->exercise.flat);
        s->exercise.flat = image_truth(s->image, "qcow2");
    }
}

/* The driver's own create(): the image names its backing file by a relative or an absolute path. */
static void layer_create(struct scenario *s, uint64_t size, const char *backing)
{
    CLEANUP_FREE char *absolute = scratch_path(backing);
    struct image_spec spec = {.size_bytes = size, .backing_format = s->format};
    spec.backing_file = random_chance(&s->random, 50) ? backing : absolute;
    spec.extended_l2 = s->options.extended_l2;
    spec.cluster_bytes = (uint32_t)s->options.cluster_bytes;
    if (!s->layers)
        spec.backing_file = spec.backing_format = NULL;
    s->options.refcount_bits = 16;
    s->options.version2 = s->options.lazy_refcounts = s->options.zstd = false;
    struct node *node = overlay_must_create(s->image, &spec, NULL);
    node_must_close(&node);
}

/* Adds a qcow2 layer on what there is and leaves the reference at what it holds. */
static void layer_make_qcow2(struct scenario *s, uint64_t cluster_bytes, uint64_t size)
{
    char backing[NAME_BYTES];
    snprintf(backing, sizeof(backing), "%s", s->image);
    snprintf(s->image, sizeof(s->image), "layer%u.qcow2", s->layers);
    s->options = image_options_random(&s->random, cluster_bytes);
    if (random_chance(&s->random, 30))
        layer_create(s, size, backing);
    else
        image_create(s->image, &s->options, size, s->layers ? backing : NULL, s->format);
    struct flat *below = s->exercise.flat;
    s->exercise.flat = below ? flat_copy(below, size) : flat_new(size);
    s->exercise.cluster_bytes = s->options.cluster_bytes;
    flat_free(below);
    s->format = "qcow2";
    if (random_chance(&s->random, 65)) {
        layer_fill_by_qemu(s, size, random_chance(&s->random, 40));
        return;
    }
    s->exercise.node = chain_must_open(s->image, "qcow2", false);
    scenario_exercise(s, 150);
    node_must_close(&s->exercise.node);
}

static void scenario_add_layer(struct scenario *s, uint64_t cluster_bytes, unsigned raw_percent)
{
    struct image_options any = image_options_random(&s->random, cluster_bytes);
    uint64_t size = scenario_size(s, any.cluster_bytes);
    if (s->exercise.flat && random_chance(&s->random, 40))
        size = s->exercise.flat->size_bytes;
    if (!s->layers && random_chance(&s->random, raw_percent)) {
        snprintf(s->image, sizeof(s->image), "layer0.raw");
        layer_make_raw(s);
    } else {
        layer_make_qcow2(s, any.cluster_bytes, size);
    }
    s->layers++;
    printf(" <- %s %s %" PRIu64, s->image,
           s->format[0] == 'q' ? image_options_text(&s->options) : "",
           s->exercise.flat->size_bytes);
}

/* A group snapshot in small: an overlay in front of the top, which is frozen without being closed.
 * Half of them are what a device gets by default; the others have any clusters that it may be
 * given. */
static void scenario_freeze(struct scenario *s)
{
    struct node *frozen = s->exercise.node;
    char backing[NAME_BYTES];
    scenario_save(s, "");
    snprintf(backing, sizeof(backing), "%s", s->image);
    snprintf(s->image, sizeof(s->image), "layer%u.qcow2", s->layers++);
    struct image_spec spec = {.size_bytes = frozen->size_bytes, .backing_file = backing};
    spec.backing_format = s->format;
    struct cluster_shape shape = driver_overlay_shape((struct cluster_shape){0}, spec.size_bytes);
    if (random_chance(&s->random, 50)) {
        shape.cluster_bytes = 512U << random_below(&s->random, 13);
        shape.extended_l2 = shape.cluster_bytes >= 16384 && random_chance(&s->random, 50);
    }
    spec.cluster_bytes = shape.cluster_bytes;
    spec.extended_l2 = shape.extended_l2;
    s->format = "qcow2";
    s->options = (struct image_options){.cluster_bytes = shape.cluster_bytes, .refcount_bits = 16};
    s->exercise.node = overlay_must_create(s->image, &spec, frozen);
    s->exercise.cluster_bytes = s->options.cluster_bytes;
    assert_int_equal(node_freeze(frozen), 0);
    assert_int_equal(node_write(frozen, "x", 0, 1), -EROFS);
    node_unref(frozen);
}

static void layer_must_be_clean(const char *image, const char *format)
{
    if (format[0] == 'q')
        image_must_be_clean(image);
}

static void scenario_reopen(struct scenario *s, const char *snapshot)
{
    node_must_close(&s->exercise.node);
    layer_must_be_clean(s->image, s->format);
    if (snapshot)
        scenario_snapshot(s, snapshot);
    s->exercise.node = chain_must_open(s->image, s->format, false);
}

static void scenario_run(struct scenario *s, uint64_t operations)
{
    bool internal = random_chance(&s->random, 50), external = random_chance(&s->random, 50);
    s->exercise.node = chain_must_open(s->image, s->format, false);
    flat_must_match_node(s->exercise.flat, s->exercise.node, s->what);
    scenario_exercise(s, operations / 4);
    scenario_reopen(s, internal ? "in-the-middle" : NULL);
    scenario_exercise(s, operations / 4);
    if (external)
        scenario_freeze(s);
    scenario_exercise(s, operations / 4);
    flat_must_match_node(s->exercise.flat, s->exercise.node, s->what);
    if (external && random_chance(&s->random, 50))
        scenario_freeze(s);
    scenario_reopen(s, NULL);
    scenario_exercise(s, operations - operations / 4 * 3);
    flat_must_match_node(s->exercise.flat, s->exercise.node, s->what);
    node_must_close(&s->exercise.node);
}

static void saved_must_hold(const struct saved *saved)
{
    if (!saved->snapshot[0]) {
        layer_must_be_clean(saved->image, saved->format);
        flat_must_match_image(saved->flat, saved->image, saved->format);
        struct node *node = chain_must_open(saved->image, saved->format, true);
        flat_must_match_node(saved->flat, node, "frozen");
        node_unref(node);
        return;
    }
    shell("qemu-img convert -l snapshot.name=%s -f qcow2 -O raw %s snapshot.raw", saved->snapshot,
          saved->image);
    flat_must_match_image(saved->flat, "snapshot.raw", "raw");
}

static void scenario_end(struct scenario *s)
{
    layer_must_be_clean(s->image, s->format);
    flat_must_match_image(s->exercise.flat, s->image, s->format);
    for (unsigned i = 0; i < s->saved_count; i++) {
        saved_must_hold(&s->saved[i]);
        flat_free(s->saved[i].flat);
    }
    flat_free(s->exercise.flat);
    shell("rm -f layer* snapshot.raw");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(chain_matches_flat_reference)
{
    uint64_t seed = environment_number("CHAIN_SEED", 20121);
    uint64_t operations = environment_number("CHAIN_OPERATIONS", OPERATIONS_DEFAULT);
    uint64_t only = environment_number("CHAIN_SCENARIO", SCENARIOS);
    printf("CHAIN_SEED=%" PRIu64 " CHAIN_OPERATIONS=%" PRIu64 "\n", seed, operations);
    for (unsigned i = 0; i < SCENARIOS; i++) {
        if (only != SCENARIOS && only != i)
            continue;
        CLEANUP_FREE struct scenario *s = calloc(1, sizeof(*s));
        assert_non_null(s);
        s->random = random_seeded(seed + i);
        s->exercise.random = random_seeded(random_next(&s->random));
        s->exercise.what = s->what;
        snprintf(s->what, sizeof(s->what), "CHAIN_SCENARIO=%u", i);
        printf("%s", s->what);
        for (unsigned depth = 1 + i % 5; depth > 1; depth--)
            scenario_add_layer(s, 0, 50);
        scenario_add_layer(s, 512ULL << i % 13, i ? 0 : 100);
        printf("\n");
        scenario_run(s, operations / SCENARIOS);
        scenario_end(s);
    }
}
