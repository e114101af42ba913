/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * A thawed image gets a larger disk. Whenever the power fails, and whichever sectors reached the
 * disk, QEMU finds the old size or the new one and no error, the old content and zeros behind it,
 * whatever the tables and clusters held past the old end (powerdisk.h).
 */
#include "tests/lib/powerdisk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OLD_BYTES = (1 << 20) - 3 * 512, FILLED_BYTES = 1 << 20, CHECK_LEAKS = 3 };

struct growth {
    const char *what;
    struct flat *flat; /* of the old size */
    uint64_t new_bytes, old_seen, new_seen;
};

static void image_must_have(struct growth *growth, struct node *node, const char *what)
{
    CLEANUP_FREE unsigned char *bytes = malloc(node->size_bytes);
    assert_int_equal(node_read(node, bytes, 0, node->size_bytes), 0);
    if (bytes_first_difference(bytes, growth->flat->bytes, OLD_BYTES) != OLD_BYTES ||
        !bytes_are_zero(bytes + OLD_BYTES, node->size_bytes - OLD_BYTES))
        fail_msg("%s: %s: the content has changed", growth->what, what);
}

static void crash_image_examine(void *arg, uint64_t state)
{
    struct growth *growth = arg;
    char what[64];
    snprintf(what, sizeof(what), "state %" PRIu64, state);
    int status = shell_status("qemu-img check -q -f qcow2 crash.qcow2");
    if (status != 0 && status != CHECK_LEAKS)
        fail_msg("%s: %s: qemu-img check ended with %d", growth->what, what, status);
    struct node *node = chain_must_open("crash.qcow2", "qcow2", true);
    bool is_new = node->size_bytes == growth->new_bytes;
    if (!is_new)
        assert_int_equal(node->size_bytes, OLD_BYTES);
    growth->new_seen += is_new;
    growth->old_seen += !is_new;
    image_must_have(growth, node, what);
    node_unref(node);
}

static bool info_says(uint64_t size_bytes)
{
    char size[64];
    CLEANUP_FREE char *info = shell_output("qemu-img info -U --output=json top");
    snprintf(size, sizeof(size), "\"virtual-size\": %" PRIu64 ",", size_bytes);
    return strstr(info, size);
}

/* Data up to the end of the last cluster, and past it, which the header then disowns. */
static void image_make(const struct image_options *options, struct random *random)
{
    shell("rm -f top");
    image_create("top", options, FILLED_BYTES, NULL, NULL);
    image_fill("top", FILLED_BYTES, options->cluster_bytes, random);
    shell("qemu-io -f qcow2 -c 'write -P 77 %d 64k' top", FILLED_BYTES - 65536);
    image_poke("top", 24, 8, OLD_BYTES);
}

static void image_grow(const struct image_options *options, struct random *random,
                       uint64_t new_bytes)
{
    struct err err;
    struct growth growth = {.what = image_options_text(options), .new_bytes = new_bytes};
    image_make(options, random);
    growth.flat = image_truth("top", "qcow2");
    struct node *node = chain_must_open("top", "qcow2", true);
    const struct power_rig rig = {.random = random,
                                  .examine = crash_image_examine,
                                  .arg = &growth,
                                  .all_max = 8,
                                  .each = TEST_SANITIZED ? 2 : 4,
                                  .states_max = UINT32_MAX};
    assert_int_equal(node_can_grow(node, new_bytes, &err), 0);
    assert_int_equal(node_thaw(node, -1, &err), 0);
    power_watch(&rig, node->fd);
    if (node_grow(node, new_bytes, &err) != 0)
        fail_msg("%s: %s", growth.what, err.message);
    node_release_freed(node);
    assert_int_equal(node_freeze(node), 0);
    power_unwatch(node->fd);
    assert_true(growth.old_seen > 0 && growth.new_seen > 0);
    assert_true(info_says(new_bytes));
    image_must_have(&growth, node, "the end");
    node_unref(node);
    image_must_be_clean("top");
    flat_free(growth.flat);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(qcow2_images_grow)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20151));
    const struct image_options variants[] = {
        IMAGE_VARIANTS,
        {.cluster_bytes = 65536, .refcount_bits = 16, .extended_l2 = true},
    };
    for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++)
        for (uint64_t size = OLD_BYTES + 512; size < 64 << 20; size = size * 7 / 512 * 512)
            image_grow(&variants[i], &random, size);
    printf("%" PRIu64 " crash images examined\n", power_states());
}

TEST(what_is_written_there_afterwards_stays)
{
    struct err err;
    struct random random = random_seeded(20152);
    const struct image_options options = {.cluster_bytes = 512, .refcount_bits = 16};
    image_make(&options, &random);
    struct node *node = chain_must_open("top", "qcow2", false);
    assert_int_equal(node_grow(node, 6 << 20, &err), 0);
    CLEANUP(flat) struct flat *flat = flat_new(6 << 20);
    assert_int_equal(node_read(node, flat->bytes, 0, OLD_BYTES), 0);
    random_fill(&random, flat->bytes + (5 << 20), 1 << 20);
    assert_int_equal(node_write(node, flat->bytes + (5 << 20), 5 << 20, 1 << 20), 0);
    node_must_close(&node);
    image_must_be_clean("top");
    flat_must_match_image(flat, "top", "qcow2");
}

TEST(raw_images_grow)
{
    struct err err;
    char byte = 1;
    shell("printf abc >raw");
    struct node *node = chain_must_open("raw", "raw", true);
    assert_int_equal(node_thaw(node, -1, &err), 0);
    assert_int_equal(node_grow(node, 4096, &err), 0);
    assert_int_equal(node->size_bytes, 4096);
    assert_int_equal(node_read(node, &byte, 4095, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(node_freeze(node), 0);
    node_unref(node);
    shell("test $(stat -c %%s raw) = 4096 && head -c 3 raw | grep -q abc");
}

TEST(what_cannot_grow_says_why)
{
    struct err err;
    shell("rm -f top; qemu-img create -q -f raw base 2M; "
          "qemu-img create -q -f qcow2 -F raw -b base top 1M");
    struct node *node = chain_must_open("top", "qcow2", true);
    assert_int_equal(node_can_grow(node, 2 << 20, &err), -1);
    assert_int_equal(err.code, ErrInvalidValue);
    assert_non_null(strstr(err.message, "smaller than its backing file"));
    assert_int_equal(node_can_grow(node, 1 << 20, &err), -1); /* it has that size */
    assert_int_equal(node_can_grow(node, (2 << 20) + 1, &err), -1);
    node_unref(node);
    shell("rm -f top; qemu-img create -q -f qcow2 -o cluster_size=512 top 1M");
    node = chain_must_open("top", "qcow2", true);
    assert_int_equal(node_can_grow(node, 1ULL << 40, &err), -1);
    assert_non_null(strstr(err.message, "clusters are too small"));
    node_unref(node);
    shell("rm -f top; qemu-img create -q -f qcow2 -o compat=0.10 top 1M && "
          "qemu-img snapshot -c one top");
    node = chain_must_open("top", "qcow2", true);
    assert_int_equal(node_can_grow(node, 2 << 20, &err), -1);
    assert_non_null(strstr(err.message, "internal snapshots"));
    node_unref(node);
}
