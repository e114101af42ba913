/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * Images made by qemu-img with each of its options read as QEMU reads them, and stay free of errors
 * and leaks when the driver writes to them.
 *
 * A row is what follows -o, a virtual size, and a shell command that finishes the image ("$I" is
 * its name); qemu-io has filled it before with plain, compressed and zero clusters.
 */
#include "tests/lib/testlib.h"

#include <inttypes.h>
#include <stdio.h>

#define RECOMPRESS(options) "qemu-img convert -f qcow2 -O qcow2 -c -o " options " $I x && mv x $I"

static const struct row {
    const char *options;
    uint64_t size_bytes;
    const char *finish;
} rows[] = {
    {"cluster_size=512", 1 << 20, ":"},
    {"cluster_size=1k", 1 << 20, ":"},
    {"cluster_size=2k", 2 << 20, ":"},
    {"cluster_size=4k", 2 << 20, ":"},
    {"cluster_size=8k", 2 << 20, ":"},
    {"cluster_size=16k", 4 << 20, ":"},
    {"cluster_size=32k", 4 << 20, ":"},
    {"cluster_size=64k", 4 << 20, ":"},
    {"cluster_size=128k", 4 << 20, ":"},
    {"cluster_size=256k", 8 << 20, ":"},
    {"cluster_size=512k", 8 << 20, ":"},
    {"cluster_size=1M", 16 << 20, ":"},
    {"cluster_size=2M", 16 << 20, ":"},
    {"cluster_size=64k", 1000448, ":"}, /* ends within a cluster */
    {"cluster_size=2M", 5000192, ":"},
    {"cluster_size=1k,refcount_bits=1", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=2", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=4", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=8", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=16", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=32", 1 << 20, ":"},
    {"cluster_size=1k,refcount_bits=64", 4 << 20, ":"},
    {"compat=0.10", 4 << 20, ":"},
    {"compat=0.10,cluster_size=512", 1 << 20, ":"},
    {"compat=1.1", 4 << 20, ":"},
    {"lazy_refcounts=on", 4 << 20, ":"},
    {"compression_type=zlib", 4 << 20, RECOMPRESS("compression_type=zlib")},
    {"compression_type=zstd", 4 << 20, RECOMPRESS("compression_type=zstd")},
    {"compression_type=zstd", 16 << 20, RECOMPRESS("compression_type=zstd,cluster_size=2M")},
    {"compression_type=zlib", 1 << 20, RECOMPRESS("compat=0.10,cluster_size=512")},
    {"cluster_size=16k,extended_l2=on", 4 << 20, ":"},
    {"cluster_size=64k,extended_l2=on", 4 << 20, RECOMPRESS("extended_l2=on")},
    {"cluster_size=2M,extended_l2=on", 16 << 20, ":"},
    {"preallocation=metadata", 4 << 20, ":"},
    {"preallocation=falloc", 4 << 20, ":"},
    {"preallocation=full", 4 << 20, ":"},
    {"preallocation=metadata,extended_l2=on", 4 << 20, ":"},
    {"preallocation=metadata,cluster_size=512,compat=0.10", 1 << 20, ":"},
    {"cluster_size=4k", 2 << 20, "qemu-img snapshot -c one $I && qemu-img snapshot -c two $I"},
    {"compat=0.10", 2 << 20, "qemu-img snapshot -c one $I && qemu-io -c 'write -P 7 1M 64k' $I"},
    {"cluster_size=4k", 2 << 20, "qemu-img resize -q $I 5M && qemu-io -c 'write 4M 99k' $I"},
    {"cluster_size=4k", 2 << 20, "qemu-img resize -q --shrink $I 1M"},
    {"compat=0.10", 2 << 20, "qemu-img amend -q -f qcow2 -o compat=1.1 $I"},
    {"cluster_size=4k", 2 << 20, "qemu-img amend -q -f qcow2 -o refcount_bits=64 $I"},
    {"cluster_size=4k", 2 << 20, "qemu-img convert -S 0 -O qcow2 $I x && mv x $I"},
    {"cluster_size=64k", 2 << 20,
     "qemu-img bitmap --add $I dirty && qemu-img bitmap --remove $I dirty"},
};

static void row_check(const struct row *row, struct random *random)
{
    shell("rm -f image && qemu-img create -q -f qcow2 -o %s image %" PRIu64, row->options,
          row->size_bytes);
    uint64_t cluster_bytes = 1ULL << image_peek("image", 20, 4);
    image_fill("image", row->size_bytes, cluster_bytes, random);
    shell("I=image; %s", row->finish);
    CLEANUP(flat) struct flat *flat = image_truth("image", "qcow2");
    struct node *node = chain_must_open("image", "qcow2", true);
    flat_must_match_node(flat, node, row->options);
    node_unref(node);

    CLEANUP_FREE struct exercise *exercise = calloc(1, sizeof(*exercise));
    assert_non_null(exercise);
    exercise->node = chain_must_open("image", "qcow2", false);
    exercise->flat = flat;
    exercise->random = *random;
    exercise->cluster_bytes = cluster_bytes;
    exercise->what = row->options;
    for (int i = 0; i < 200; i++)
        exercise_step(exercise);
    node_must_close(&exercise->node);
    image_must_be_clean("image");
    flat_must_match_image(flat, "image", "qcow2");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(every_create_option_reads)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        printf("%s; %s\n", rows[i].options, rows[i].finish);
        row_check(&rows[i], &random);
    }
}
