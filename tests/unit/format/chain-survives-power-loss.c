/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * Whenever the power fails, and whichever sectors of the writes since the last fdatasync reached
 * the disk, the image is free of errors (leaks aside) and holds everything that was flushed.
 *
 * Crash images are made up on every fdatasync (powerdisk.h). `qemu-img check` judges each, and
 * every byte that no request touched since the last completed flush must be what it was then.
 * CHAIN_SEED repeats a run, CHAIN_STATES scales it.
 */
#include "tests/lib/powerdisk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if TEST_SANITIZED
#define STATES_DEFAULT 150
#else
#define STATES_DEFAULT 900
#endif

enum { DISK_BYTES = 1 << 20, SECTOR_BYTES = 512, CHECK_LEAKS = 3 };

static struct {
    struct random random;
    struct flat *flushed;   /* the guest's disk at the last completed flush */
    unsigned char *touched; /* per byte: changed by a request since then */
    const char *what;
} disk;

static void crash_image_examine(void *arg, uint64_t state)
{
    (void)arg;
    int status = shell_status("qemu-img check -f qcow2 crash.qcow2 >crash.log");
    if (status != 0 && status != CHECK_LEAKS) {
        CLEANUP_FREE char *log = shell_output("head -c 600 crash.log");
        fail_msg("%s: state %" PRIu64 ": qemu-img check ended with %d: %s", disk.what, state,
                 status, log);
    }
    struct node *node = chain_must_open("crash.qcow2", "qcow2", state % 2);
    CLEANUP_FREE unsigned char *found = malloc(DISK_BYTES);
    assert_non_null(found);
    assert_int_equal(node_read(node, found, 0, DISK_BYTES), 0);
    node_unref(node);
    for (uint64_t i = 0; i < DISK_BYTES; i++)
        if (found[i] != disk.flushed->bytes[i] && !disk.touched[i])
            fail_msg("%s: state %" PRIu64 ": byte %" PRIu64 " is 0x%02x, was flushed as 0x%02x",
                     disk.what, state, i, found[i], disk.flushed->bytes[i]);
}

static void disk_watch(struct node *node, const struct flat *flat, const char *what,
                       uint64_t states)
{
    const struct power_rig rig = {
        .random = &disk.random, .examine = crash_image_examine, .each = 2, .states_max = states};
    disk.flushed = flat_copy(flat, DISK_BYTES);
    memset(disk.touched, 0, DISK_BYTES);
    disk.what = what;
    power_watch(&rig, node->fd);
}

static void disk_unwatch(struct node *node)
{
    power_unwatch(node->fd);
    flat_free(disk.flushed);
}

static void guest_change(struct node *node, struct flat *flat, uint64_t cluster_bytes)
{
    struct random *r = &disk.random;
    uint64_t align = random_chance(r, 50) ? SECTOR_BYTES : cluster_bytes;
    uint64_t offset = random_below(r, DISK_BYTES) / align * align;
    uint64_t length = random_between(r, 1, random_chance(r, 10) ? 40 : 6) * align;
    if (length > DISK_BYTES - offset)
        length = DISK_BYTES - offset;
    uint64_t draw = random_below(r, 100);
    memset(disk.touched + offset, 1, length);
    if (draw < 60) {
        random_fill(r, flat->bytes + offset, length);
        assert_int_equal(node_write(node, flat->bytes + offset, offset, length), 0);
    } else if (draw < 80) {
        memset(flat->bytes + offset, 0, length);
        assert_int_equal(node_zero(node, offset, length, draw & 1), 0);
    } else {
        assert_int_equal(node_discard(node, offset, length), 0);
        assert_int_equal(node_read(node, flat->bytes + offset, offset, length), 0);
    }
}

/* The overlay that a group snapshot creates, nothing written yet. */
static void overlay_create(const struct image_options *options)
{
    const struct image_spec spec = {.size_bytes = DISK_BYTES,
                                    .cluster_bytes = (uint32_t)options->cluster_bytes,
                                    .extended_l2 = options->extended_l2,
                                    .backing_file = "base.qcow2",
                                    .backing_format = "qcow2"};
    struct node *node = overlay_must_create("top.qcow2", &spec, NULL);
    node_must_close(&node);
}

static void guest_run(const struct image_options *base, const struct image_options *options,
                      bool ours, bool snapshot, uint64_t states)
{
    shell("rm -f base.qcow2 top.qcow2");
    image_create("base.qcow2", base, DISK_BYTES, NULL, NULL);
    image_fill("base.qcow2", DISK_BYTES, base->cluster_bytes, &disk.random);
    if (ours) {
        overlay_create(options);
    } else {
        image_create("top.qcow2", options, DISK_BYTES, "base.qcow2", "qcow2");
        image_fill("top.qcow2", DISK_BYTES / 2, options->cluster_bytes, &disk.random);
    }
    if (snapshot)
        image_snapshot("top.qcow2", "one");
    CLEANUP(flat) struct flat *flat = image_truth("top.qcow2", "qcow2");
    struct node *node = chain_must_open("top.qcow2", "qcow2", false);
    uint64_t wanted = power_states() + states;
    disk_watch(node, flat, image_options_text(options), states);
    for (unsigned i = 0; i < 20000 && power_states() < wanted; i++) {
        guest_change(node, flat, options->cluster_bytes);
        if (random_chance(&disk.random, 12)) {
            assert_int_equal(node_flush(node), 0);
            memcpy(disk.flushed->bytes, flat->bytes, DISK_BYTES);
            memset(disk.touched, 0, DISK_BYTES);
        }
    }
    assert_int_equal(node_flush(node), 0);
    disk_unwatch(node);
    node_must_close(&node);
    image_must_be_clean("top.qcow2");
    flat_must_match_image(flat, "top.qcow2", "qcow2");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(power_loss_is_survived)
{
    const struct image_options variants[] = {
        IMAGE_VARIANTS,
        {.cluster_bytes = 65536, .refcount_bits = 16, .extended_l2 = true},
        /* As group snapshots create them, over a base with other clusters. */
        {.cluster_bytes = 16384, .refcount_bits = 16, .extended_l2 = true},
        {.cluster_bytes = 131072, .refcount_bits = 16, .extended_l2 = true},
    };
    const unsigned ours = 6;
    const unsigned count = sizeof(variants) / sizeof(*variants);
    uint64_t states = environment_number("CHAIN_STATES", STATES_DEFAULT);
    disk.touched = malloc(DISK_BYTES);
    disk.random = random_seeded(environment_number("CHAIN_SEED", 20121));
    for (unsigned i = 0; i < 2 * count; i++)
        guest_run(&variants[i / 2 < ours ? i / 2 : 2], &variants[i / 2], i / 2 >= ours, i % 2,
                  states / count / 2);
    printf("%" PRIu64 " crash images examined\n", power_states());
    assert_true(power_states() >= states / 2);
    free(disk.touched);
}
