/* SPDX-License-Identifier: Apache-2.0
 *
 * A device grows again and again, from less than a unit of its block map to several ranges of it,
 * while threads write and read at random: each sector has zeros or its own number. The image's last
 * cluster holds other bytes past the disk's end, which qemu-img left there; nobody ever reads them.
 * Growths that cannot be are refused.
 */
#include "tests/lib/disks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SECTOR = 512,
    WORDS = SECTOR / sizeof(uint64_t),
    FIRST_BYTES = 141 * SECTOR,
    THREADS = 3,
    ROUNDS = TEST_SANITIZED ? 14 : 18,
};

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

static struct group *grow_begin(struct block *block, const char *overlay, uint64_t size_bytes,
                                struct err *err)
{
    size_t failed;
    const struct group_member member = {
        .device = "g", .snapshot_file = overlay, .format = "qcow2", .size_bytes = size_bytes};
    return group_begin(block, owner_id, &member, 1, &failed, err);
}

static void grow(struct block *block, unsigned round, uint64_t size_bytes)
{
    char overlay[32];
    struct err err = {.message = ""};
    size_t failed;
    snprintf(overlay, sizeof(overlay), "g.%u", round);
    struct group *group = grow_begin(block, overlay, size_bytes, &err);
    if (!group || group_prepare(group, &failed, &err) != 0)
        fail_msg("%s", err.message);
    group_must_cut(group);
    group_must_finish(group);
    group_free(group);
}

static int sector_write(struct device *device, uint64_t sector)
{
    uint64_t words[WORDS];
    for (size_t i = 0; i < WORDS; i++)
        words[i] = sector + 1;
    return device_write(device, words, sector * SECTOR, SECTOR, 0);
}

/* Whether it has zeros or its own number; only the latter, if it must. */
static bool sector_is_right(struct device *device, uint64_t sector, bool must)
{
    uint64_t words[WORDS];
    if (device_read(device, words, sector * SECTOR, SECTOR) != 0)
        return false;
    for (size_t i = 0; i < WORDS; i++)
        if (words[i] != words[0])
            return false;
    return words[0] == sector + 1 || (words[0] == 0 && !must);
}

struct requests {
    struct device *device;
    atomic_bool *is_over;
    unsigned seed, wrong;
    pthread_t thread;
};

static void *requests_run(void *arg)
{
    struct requests *requests = arg;
    while (!atomic_load(requests->is_over)) {
        uint64_t sectors = device_size_bytes(requests->device) / SECTOR;
        uint64_t sector = (uint64_t)rand_r(&requests->seed) % sectors;
        bool writes = rand_r(&requests->seed) % 4 == 0;
        if (writes && sector_write(requests->device, sector) != 0)
            requests->wrong++;
        if (!sector_is_right(requests->device, sector, writes))
            requests->wrong++;
        /* Where the ends have been. */
        uint64_t near = FIRST_BYTES / SECTOR + (uint64_t)rand_r(&requests->seed) % 16;
        if (near < sectors && !sector_is_right(requests->device, near, false))
            requests->wrong++;
    }
    return NULL;
}

static void shrunk_create(void)
{
    shell("rm -f g.*");
    shell("qemu-img create -q -f qcow2 g.qcow2 128k");
    shell("qemu-io -f qcow2 -c 'write -q -P 0xff 0 128k' g.qcow2");
    shell("qemu-img resize -q --shrink -f qcow2 g.qcow2 %d", FIRST_BYTES);
    shell("qemu-io -f qcow2 -c 'write -q -z -u 0 64k' g.qcow2");
    shell("qemu-io -f qcow2 -c 'write -q -P 0 64k %d' g.qcow2", FIRST_BYTES - 65536);
}

TEST(under_requests)
{
    struct block *block = *state;
    struct requests requests[THREADS];
    atomic_bool is_over;
    shrunk_create();
    disk_attach(block, "g", "g.qcow2");
    struct device *device = disk(block, "g");
    atomic_init(&is_over, false);
    for (uint64_t sector = 0; sector < FIRST_BYTES / SECTOR; sector++)
        assert_true(sector_is_right(device, sector, false));
    for (unsigned i = 0; i < THREADS; i++) {
        requests[i] = (struct requests){device, &is_over, i + 1, 0, 0};
        assert_int_equal(0, pthread_create(&requests[i].thread, NULL, requests_run, &requests[i]));
    }
    uint64_t size_bytes = FIRST_BYTES;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t old_sectors = size_bytes / SECTOR;
        size_bytes = round == 0 ? size_bytes + SECTOR : old_sectors * 8 / 5 * SECTOR;
        grow(block, round, size_bytes);
        assert_int_equal(size_bytes, device_size_bytes(device));
        assert_true(sector_is_right(device, old_sectors, false));
        assert_int_equal(0, sector_write(device, size_bytes / SECTOR - 1));
        assert_true(sector_is_right(device, size_bytes / SECTOR - 1, true));
    }
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(requests[i].thread, NULL);
        assert_int_equal(0, requests[i].wrong);
    }
    disk_detach(block, "g");
}

/* The block map knows the last unit, and nobody changes it. */
TEST(zeros_come_after_the_old_end)
{
    struct block *block = *state;
    shrunk_create();
    disk_attach(block, "g", "g.qcow2");
    struct device *device = disk(block, "g");
    for (unsigned round = 0; round < 2; round++) {
        const uint64_t end = device_size_bytes(device) / SECTOR;
        for (uint64_t sector = 0; sector < end; sector++)
            assert_true(sector_is_right(device, sector, false));
        grow(block, round, (end + 20) * SECTOR);
        for (uint64_t sector = end - 1; sector < end + 20; sector++)
            assert_true(sector_is_right(device, sector, false));
    }
    disk_detach(block, "g");
}

TEST(not_to_what_cannot_be)
{
    static const uint64_t sizes[] = {1,           SECTOR,          FIRST_BYTES - SECTOR,
                                     FIRST_BYTES, FIRST_BYTES + 1, DEVICE_SIZE_MAX_BYTES + SECTOR};
    struct block *block = *state;
    shrunk_create();
    disk_attach(block, "g", "g.qcow2");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct err err;
        assert_null(grow_begin(block, "g.none", sizes[i], &err));
        assert_int_equal(err.code, ErrInvalidValue);
    }
    assert_int_equal(FIRST_BYTES, device_size_bytes(disk(block, "g")));
    disk_detach(block, "g");
}
