/* SPDX-License-Identifier: Apache-2.0
 *
 * See disks.h.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"
#include "tests/lib/faulty.h"

#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

enum { UNIT_BYTES = 4096 };

unsigned char owner_id[OWNER_ID_BYTES], other_owner_id[OWNER_ID_BYTES];

static void device_must_open(struct block *block, const struct device_spec *spec)
{
    struct err err = {.message = ""};
    if (block_device_open(block, spec, &err) != 0)
        fail_msg("%s: %s", spec->name, err.message);
    block_device_export(block, spec->name);
}

void disk_add(struct block *block, const char *name, const char *image, const char *format)
{
    struct err err = {.message = ""};
    unsigned char id[OWNER_ID_BYTES];
    uuid_generate(id);
    if (block_image_create(block, image, format, DISK_BYTES, NULL, id, &err) != 0 ||
        block_image_keep(block, image, id, &err) != 0)
        fail_msg("%s", err.message);
    device_must_open(block, &(struct device_spec){.name = name, .image = image, .format = format});
}

void disk_attach(struct block *block, const char *name, const char *image)
{
    device_must_open(block, &(struct device_spec){.name = name, .image = image, .format = "qcow2"});
}

void disk_attach_read_only(struct block *block, const char *name, const char *image)
{
    device_must_open(
        block,
        &(struct device_spec){.name = name, .image = image, .format = "qcow2", .read_only = true});
}

void disk_detach(struct block *block, const char *name)
{
    struct err err = {.message = ""};
    if (block_device_close(block, name, &err) != 0)
        fail_msg("%s: %s", name, err.message);
}

int disks_begin(void **state)
{
    void *unused = NULL;
    scratch_begin(&unused);
    uuid_generate(owner_id);
    uuid_generate(other_owner_id);
    faulty_install();
    faulty_reset();
    struct err err;
    struct block *block = block_open(scratch_dir(), &err);
    assert_non_null(block);
    disk_add(block, "d0", "d0.qcow2", "qcow2");
    disk_add(block, "d1", "d1.qcow2", "qcow2");
    disk_add(block, "d2", "d2.qcow2", "qcow2");
    *state = block;
    return 0;
}

int disks_end(void **state)
{
    struct err err;
    faulty_reset();
    block_close(*state, &err);
    void *unused = NULL;
    return scratch_end(&unused);
}

struct device *disk(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    assert_non_null(device);
    return device;
}

void disk_write(struct block *block, const char *name, unsigned block_number, unsigned char value)
{
    unsigned char bytes[UNIT_BYTES];
    memset(bytes, value, sizeof(bytes));
    assert_int_equal(0, device_write(disk(block, name), bytes, (uint64_t)block_number * UNIT_BYTES,
                                     sizeof(bytes), 0));
}

unsigned char disk_read(struct block *block, const char *name, unsigned block_number)
{
    unsigned char bytes[UNIT_BYTES];
    assert_int_equal(0, device_read(disk(block, name), bytes, (uint64_t)block_number * UNIT_BYTES,
                                    sizeof(bytes)));
    for (size_t i = 1; i < sizeof(bytes); i++)
        assert_int_equal(bytes[0], bytes[i]);
    return bytes[0];
}

bool image_has(const char *image, const char *format, unsigned block_number, unsigned char value)
{
    return shell_status(
               "qemu-io -r -U -f %s -c 'read -P %u %u %u' %s 2>&1 | grep -q 'read %u/%u' && "
               "! qemu-io -r -U -f %s -c 'read -P %u %u %u' %s 2>&1 | grep -q failed",
               format, value, block_number * UNIT_BYTES, UNIT_BYTES, image, UNIT_BYTES, UNIT_BYTES,
               format, value, block_number * UNIT_BYTES, UNIT_BYTES, image) == 0;
}

enum { GROUP_TEST_MAX = 32 };

struct group *group_of(struct block *block, const char *suffix, size_t count,
                       const char *const *names, size_t *failed_member, struct err *err)
{
    static char paths[GROUP_TEST_MAX][128];
    struct group_member members[GROUP_TEST_MAX];
    assert_true(count <= GROUP_TEST_MAX);
    for (size_t i = 0; i < count; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s.%s", names[i], suffix);
        members[i] =
            (struct group_member){.device = names[i], .snapshot_file = paths[i], .format = "qcow2"};
    }
    unsigned char id[OWNER_ID_BYTES];
    uuid_generate(id);
    return group_begin(block, id, members, count, failed_member, err);
}

struct group *group_must_prepare(struct block *block, const char *suffix, size_t count,
                                 const char *const *names)
{
    struct err err = {.message = ""};
    size_t failed_member;
    struct group *group = group_of(block, suffix, count, names, &failed_member, &err);
    if (!group || group_prepare(group, &failed_member, &err) != 0)
        fail_msg("%s", err.message);
    return group;
}

void group_must_cut(struct group *group)
{
    uint64_t cut_at_us; /* of no interest */
    group_cut(group, &cut_at_us);
}

uint64_t group_must_finish(struct group *group)
{
    group_finish_begin(group);
    assert_int_equal(group_finish_await(group, SIZE_MAX, UINT64_MAX), GROUP_FINISH_DONE);
    return group_sealed_us(group);
}

void group_take(struct block *block, const char *suffix, size_t count, const char *const *names)
{
    struct group *group = group_must_prepare(block, suffix, count, names);
    group_must_cut(group);
    group_must_finish(group);
    group_free(group);
}

struct device *frozen_use(struct block *block, const char *device, const char *group)
{
    struct err err = {.message = ""};
    char image[32], export[64];
    snprintf(image, sizeof(image), "%s.qcow2", device);
    snprintf(export, sizeof(export), "%s@%s", device, group);
    CLEANUP_FREE char *path = scratch_path(image);
    struct device *member = NULL;
    if (block_frozen_add(block, device, group, "id", path, NULL, "qcow2", NULL, &err) == 0)
        member = export_use(block, export, &(struct client_names){0}, &err);
    if (!member)
        fail_msg("%s: %s", export, err.message);
    return member;
}

struct merge *images_merge_begin(struct block *block, const char *lower, const char *upper)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower_path = scratch_path(lower), *upper_path = scratch_path(upper);
    const struct merge_image base = {lower_path, "qcow2", NULL}, top = {upper_path, "qcow2", NULL};
    struct merge *merge = merge_open(block, &base, &top, &err);
    if (!merge || merge_begin(merge, &err) != 0)
        fail_msg("%s", err.message);
    return merge;
}

int merge_rest(struct merge *merge, struct err *err)
{
    uint64_t offset = 0, copied;
    int ret;
    do
        ret = merge_copy(merge, &offset, &copied, err);
    while (ret == 0);
    return ret;
}

void images_merge(struct block *block, const char *lower, const char *upper)
{
    struct err err = {.message = ""};
    struct merge *merge = images_merge_begin(block, lower, upper);
    assert_int_equal(merge_rest(merge, &err), 1);
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
}

char *scratch_listing(void)
{
    return shell_output(
        "find . -type f -printf '%%P %%s ' -exec sha256sum {} \\; | sort; find . | sort");
}

void scratch_listing_must_be(const char *expected)
{
    CLEANUP_FREE char *listing = scratch_listing();
    assert_string_equal(expected, listing);
}
