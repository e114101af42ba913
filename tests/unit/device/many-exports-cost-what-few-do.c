/* SPDX-License-Identifier: Apache-2.0
 *
 * Reserving, finding and dropping a device, and offering and finding a frozen image, cost the same
 * with thousands of others as with a few. Counted is the processor time of this thread; the limit
 * is far from both, since a list that is walked makes it a hundred times as much.
 */
#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"
#include "tests/lib/disks.h"

#include <stdio.h>
#include <time.h>

enum { FEW = 1000, MANY = 30000, ROUNDS = 5, MANY_BEFORE = MANY - ROUNDS * FEW, RATIO_MAX = 8 };

static const struct client_names nobody;

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct device *reserved[MANY];

static void devices_reserve(struct block *block, unsigned from, unsigned to)
{
    struct err err;
    char name[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        const struct device_spec spec = {.name = name, .image = "none", .format = "raw"};
        reserved[i] = registry_reserve(block, &spec, &err);
        assert_non_null(reserved[i]);
    }
}

static void devices_drop(struct block *block, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        registry_drop(block, reserved[i]);
}

static void frozen_offer(struct block *block, unsigned from, unsigned to)
{
    struct err err;
    char group[32], id[40], name[64];
    for (unsigned i = from; i < to; i++) {
        snprintf(group, sizeof(group), "g%u", i);
        snprintf(id, sizeof(id), "00000000-0000-0000-0000-%012x", i);
        assert_int_equal(block_frozen_add(block, "vda", group, id, "none", NULL, "raw", NULL, &err),
                         0);
        snprintf(name, sizeof(name), "vda@g%u", from);
        assert_int_equal(export_check(block, name, &nobody, &err), 0);
        snprintf(name, sizeof(name), "vda@00000000-0000-0000-0000-%012x", from);
        assert_int_equal(export_check(block, name, &nobody, &err), 0);
        assert_int_equal(export_check(block, "vda@none", &nobody, &err), -1);
    }
}

static uint64_t cost(void (*run)(struct block *, unsigned, unsigned), struct block *block,
                     unsigned from)
{
    uint64_t begun = cpu_ns();
    run(block, from, from + FEW);
    return cpu_ns() - begun;
}

/* The least of some rounds: what else the processor does in one of them is no cost of the code. */
static uint64_t least_cost(void (*run)(struct block *, unsigned, unsigned), struct block *block,
                           unsigned from)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t one = cost(run, block, from + i * FEW);
        least = one < least ? one : least;
    }
    return least;
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

/* The last few cost what the first few do. */
static void must_cost_the_same(struct block *block, const char *verb,
                               void (*run)(struct block *, unsigned, unsigned))
{
    uint64_t first = cost(run, block, 0);
    run(block, FEW, MANY_BEFORE);
    uint64_t last = least_cost(run, block, MANY_BEFORE);
    print_message("%s %u: %lu us, with %u others %lu us\n", verb, FEW, first / 1000, MANY_BEFORE,
                  last / 1000);
    assert_true(last < RATIO_MAX * first);
}

TEST(devices)
{
    struct block *block = *state;
    must_cost_the_same(block, "reserving", devices_reserve);
    uint64_t first = least_cost(devices_drop, block, MANY_BEFORE);
    devices_drop(block, FEW, MANY_BEFORE);
    uint64_t last = cost(devices_drop, block, 0);
    assert_true(first < RATIO_MAX * last);
}

TEST(frozen_images)
{
    must_cost_the_same(*state, "offering", frozen_offer);
}
