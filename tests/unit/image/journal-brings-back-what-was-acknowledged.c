/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * A writer is killed at any moment, in the midst of a flush too; what it was told is written is
 * there after the journal has been replayed, whether it was flushed or not, though the replay is
 * killed as well, several times, and so are writers that went on after it. qemu-img finds no error
 * in the image.
 *
 * The writer shares with its parent what the disk holds and which range it is about to change: of
 * that range alone nothing is known after a kill. CHAIN_SEED repeats a run, JOURNAL_KILLS scales
 * it.
 */
#include "block/device/registry.h"
#include "tests/lib/killable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#if TEST_SANITIZED
#define KILLS_DEFAULT 4
#else
#define KILLS_DEFAULT 15
#endif

enum { DISK_BYTES = 1 << 20, REQUESTS_MAX = 120, CHECK_LEAKS = 3 };

struct shared {
    unsigned char bytes[DISK_BYTES]; /* what was acknowledged */
    uint64_t offset, length;         /* under way; length 0: nothing is */
};

struct round {
    struct shared *shared;
    uint64_t seed, cluster_bytes;
    unsigned flush_percent;
    bool resumes; /* what a writer before it left */
};

static int guest_request(struct node *node, struct shared *shared, struct random *r,
                         const struct round *round)
{
    static unsigned char buf[DISK_BYTES];
    uint64_t align = random_chance(r, 50) ? 512 : round->cluster_bytes;
    uint64_t offset = random_below(r, DISK_BYTES) / align * align;
    uint64_t length = random_between(r, 1, random_chance(r, 10) ? 40 : 6) * align;
    if (length > DISK_BYTES - offset)
        length = DISK_BYTES - offset;
    uint64_t draw = random_below(r, 100);
    int ret;
    shared->offset = offset;
    shared->length = length;
    memset(buf, 0, length);
    if (draw < 60) {
        random_fill(r, buf, length);
        ret = node_write(node, buf, offset, length);
    } else if (draw < 80) {
        ret = node_zero(node, offset, length, draw & 1);
    } else {
        ret = node_discard(node, offset, length);
        if (ret == 0)
            ret = node_read(node, buf, offset, length);
    }
    memcpy(shared->bytes + offset, buf, length);
    shared->length = 0;
    if (ret == 0 && random_chance(r, round->flush_percent))
        ret = node_flush(node);
    return ret;
}

/* The node that a device has after the start of a daemon. What was under way is settled. */
static struct node *resumed_open(struct shared *shared)
{
    struct block *block = journals_must_open();
    struct err err;
    const struct device_spec spec = {.name = "vda", .image = "top.qcow2", .format = "qcow2"};
    if (block_device_open(block, &spec, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return NULL;
    }
    struct node *node = device_top(registry_find_locked(block, "vda"));
    if (shared->length &&
        node_read(node, shared->bytes + shared->offset, shared->offset, shared->length) != 0)
        return NULL;
    shared->length = 0;
    return node;
}

static int writer(void *arg)
{
    const struct round *round = arg;
    struct random random = random_seeded(round->seed);
    struct node *node = round->resumes ? resumed_open(round->shared) : journaled_open("top.qcow2");
    if (!node)
        return 3;
    for (uint64_t i = 0, n = random_between(&random, 1, REQUESTS_MAX); i < n; i++)
        if (guest_request(node, round->shared, &random, round) != 0)
            return 4;
    die();
    return 0;
}

static int restart(void *arg)
{
    (void)arg;
    return journals_settle();
}

/* Compares, but for what was under way; from now on the disk holds what is read there. */
static void must_hold(struct shared *shared, const char *what, uint64_t kills)
{
    static unsigned char found[DISK_BYTES];
    struct node *node = chain_must_open("top.qcow2", "qcow2", true);
    assert_int_equal(node_read(node, found, 0, DISK_BYTES), 0);
    node_unref(node);
    for (uint64_t i = 0; i < DISK_BYTES; i++)
        if (found[i] != shared->bytes[i] && i - shared->offset >= shared->length)
            fail_msg("%s: kill %" PRIu64 ": byte %" PRIu64 " is 0x%02x, was acknowledged as 0x%02x",
                     what, kills, i, found[i], shared->bytes[i]);
    memcpy(shared->bytes, found, DISK_BYTES);
    shared->length = 0;
}

/* Returns whether clusters were leaked. */
static bool must_be_sound(const char *what, uint64_t kills)
{
    int status = shell_status("qemu-img check -f qcow2 top.qcow2 >check.log");
    if (status != 0 && status != CHECK_LEAKS) {
        CLEANUP_FREE char *log = shell_output("head -c 600 check.log");
        fail_msg("%s: kill %" PRIu64 ": qemu-img check ended with %d: %s", what, kills, status,
                 log);
    }
    if (status == CHECK_LEAKS)
        shell("qemu-img check -q -f qcow2 -r leaks top.qcow2");
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
    return status == CHECK_LEAKS;
}

static void disk_make(const struct image_options *options, bool snapshot, struct random *random)
{
    image_create("base.qcow2", options, DISK_BYTES, NULL, NULL);
    image_fill("base.qcow2", DISK_BYTES, options->cluster_bytes, random);
    image_create("top.qcow2", options, DISK_BYTES, "base.qcow2", "qcow2");
    image_fill("top.qcow2", DISK_BYTES / 2, options->cluster_bytes, random);
    if (snapshot)
        image_snapshot("top.qcow2", "one");
}

static void run(const struct image_options *options, bool snapshot, uint64_t kills,
                struct shared *shared, struct random *random)
{
    const char *what = image_options_text(options);
    uint64_t in_flight = 0, replays = 0, resumed = 0, leaks = 0;
    for (uint64_t i = 0; i < kills; i++) {
        if (i % 10 == 0) {
            disk_make(options, snapshot, random);
            CLEANUP(flat) struct flat *flat = image_truth("top.qcow2", "qcow2");
            memcpy(shared->bytes, flat->bytes, DISK_BYTES);
        }
        struct round round = {shared, random_next(random), options->cluster_bytes,
                              random_chance(random, 50) ? 30 : 3, false};
        do {
            bool at_call = random_chance(random, 75);
            assert_true(killed_child(writer, &round, at_call ? random_between(random, 3, 300) : 0,
                                     random_chance(random, 50)));
            resumed += round.resumes;
            round.resumes = true;
            round.seed = random_next(random);
        } while (random_chance(random, 50));
        in_flight += shared->length != 0;
        while (
            random_chance(random, 60) &&
            killed_child(restart, NULL, random_between(random, 1, 30), random_chance(random, 50)))
            replays++;
        assert_false(killed_child(restart, NULL, 0, false));
        leaks += must_be_sound(what, i);
        must_hold(shared, what, i);
    }
    printf("%s%s: %" PRIu64 " kills, %" PRIu64 " in a request, %" PRIu64 " in a replay, %" PRIu64
           " after one; leaks after %" PRIu64 "\n",
           what, snapshot ? ", snapshot" : "", kills, in_flight, replays, resumed, leaks);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(acknowledged_writes_come_back)
{
    const struct image_options variants[] = {
        IMAGE_VARIANTS,
        {.cluster_bytes = 65536, .refcount_bits = 16, .extended_l2 = true, .zstd = true},
        {.cluster_bytes = 2 << 20, .refcount_bits = 16},
    };
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shell("mkdir run");
    assert_false(killed_child(restart, NULL, 0, false));
    uint64_t kills = environment_number("JOURNAL_KILLS", KILLS_DEFAULT);
    for (unsigned i = 0; i < 2 * sizeof(variants) / sizeof(*variants); i++)
        run(&variants[i / 2], i % 2, kills, shared, &random);
}
