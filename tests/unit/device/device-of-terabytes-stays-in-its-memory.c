/* SPDX-License-Identifier: Apache-2.0
 *
 * Disks of 8 TiB (qcow2) and 2 TiB (raw), nearly all holes, are written and read at both ends and
 * across 32 bit boundaries, and QEMU agrees. And an index that has found out about all of 1 TiB,
 * unit by unit, has not taken more memory than it may, nor has the process.
 */
#include "tests/lib/disks.h"

#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#define TIB (1ULL << 40)
enum { PIECE_BYTES = 8192, PAGE_SLACK_BYTES = 64 << 10 };

static struct block *block_begin(void)
{
    struct err err;
    void *unused = NULL;
    scratch_begin(&unused);
    struct block *block = block_open(scratch_dir(), &err);
    assert_non_null(block);
    return block;
}

static struct device *disk_make(struct block *block, const char *name, const char *format,
                                uint64_t size_bytes)
{
    struct err err = {.message = ""};
    unsigned char id[OWNER_ID_BYTES];
    uuid_generate(id);
    if (block_image_create(block, name, format, size_bytes, NULL, id, &err) != 0 ||
        block_image_keep(block, name, id, &err) != 0 ||
        block_device_open(
            block, &(struct device_spec){.name = name, .image = name, .format = format}, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(block, name);
    struct device *device = disk(block, name);
    assert_int_equal(device_size_bytes(device), size_bytes);
    return device;
}

static void far_offsets(const char *format, uint64_t size_bytes)
{
    const uint64_t offsets[] = {
        0, (1ULL << 31) - 4096, (1ULL << 32) - 4096, (1ULL << 40) - 4096, size_bytes - PIECE_BYTES,
    };
    enum { COUNT = sizeof(offsets) / sizeof(*offsets) };
    struct err err = {.message = ""};
    struct block *block = block_begin();
    struct device *device = disk_make(block, "far", format, size_bytes);
    unsigned char buf[PIECE_BYTES], read[PIECE_BYTES];
    for (unsigned i = 0; i < COUNT; i++) {
        memset(buf, (int)i + 1, sizeof(buf));
        assert_int_equal(0, device_read(device, read, offsets[i], sizeof(read)));
        assert_true(bytes_are_zero(read, sizeof(read)));
        assert_int_equal(0, device_write(device, buf, offsets[i], sizeof(buf), 0));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        memset(buf, (int)i + 1, sizeof(buf));
        assert_int_equal(0, device_read(device, read, offsets[i], sizeof(read)));
        assert_memory_equal(buf, read, sizeof(buf));
    }
    assert_int_equal(0, device_discard(device, TIB / 2, size_bytes - TIB / 2 - TIB / 4, 0));
    assert_int_equal(0, block_close(block, &err));
    for (unsigned i = 0; i < COUNT; i++)
        if (offsets[i] < TIB / 2 || offsets[i] >= size_bytes - TIB / 4)
            shell("said=$(qemu-io -r -f %s -c 'read -P %u %llu %u' far) && "
                  "echo \"$said\" | grep -q 'read %u/%u' && ! echo \"$said\" | grep -q failed",
                  format, i + 1, (unsigned long long)offsets[i], PIECE_BYTES, PIECE_BYTES,
                  PIECE_BYTES);
    if (strcmp(format, "qcow2") == 0)
        image_must_be_clean("far");
    void *unused = NULL;
    scratch_end(&unused);
}

static const struct fixture fixture = {0}; /* none */

TEST(qcow2_of_8_tib)
{
    far_offsets("qcow2", 8 * TIB);
}

TEST(raw_of_2_tib)
{
    far_offsets("raw", 2 * TIB);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(1, fscanf(file, "%*u %lu", &pages));
    fclose(file);
    return pages * 4096;
}

TEST(all_of_1_tib_is_mapped)
{
    const uint64_t budget_bytes = 32 << 20, step = 64 << 10;
    const uint64_t mapped_bytes = TEST_SANITIZED ? TIB / 8 : TIB;
    struct err err = {.message = ""};
    struct block *block = block_begin();
    block_set_index_memory(block, budget_bytes);
    struct device *device = disk_make(block, "mapped", "raw", TIB); /* all data, to its driver */
    uint64_t before = resident_bytes(), most = 0;
    for (uint64_t offset = 0; offset < mapped_bytes; offset += step) {
        assert_int_equal(0, index_fill(device->index, offset, 0));
        if (block->index_memory.used_bytes > most)
            most = block->index_memory.used_bytes;
    }
    uint64_t grown = resident_bytes() - before;
    print_message("%llu GiB mapped: index %llu KiB, resident memory grew by %llu KiB\n",
                  (unsigned long long)(mapped_bytes >> 30), (unsigned long long)(most >> 10),
                  (unsigned long long)(grown >> 10));
    assert_in_range(most, budget_bytes / 2, budget_bytes + PAGE_SLACK_BYTES);
    if (!TEST_SANITIZED)
        assert_in_range(grown, 1, budget_bytes + budget_bytes / 4);
    assert_int_equal(0, block_close(block, &err));
    void *unused = NULL;
    scratch_end(&unused);
}
