/* SPDX-License-Identifier: Apache-2.0
 *
 * A device's list of clients decides who opens its export and those of its frozen images, at once
 * when it is replaced. A frozen image keeps the last list of a device that is detached, whatever
 * device has the name afterwards.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"

#include <string.h>

static const char *const NAMES[] = {"d0"};
static const struct client_names nobody = {0}, alice = {1, {"alice"}}, bob = {2, {"x", "bob"}};
static const unsigned char first_id[OWNER_ID_BYTES] = {1}, second_id[OWNER_ID_BYTES] = {2};

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

static struct allowed_clients *list_of(const char *first, const char *second)
{
    struct err err;
    const char *names[] = {first, second};
    struct allowed_clients *list = allowed_clients_new(names, second ? 2 : 1, &err);
    assert_non_null(list);
    return list;
}

static void allow(struct block *block, const char *device, const char *first, const char *second)
{
    struct allowed_clients *list = list_of(first, second);
    block_device_allow(block, device, list);
    allowed_clients_unref(list);
}

static void must_admit(struct block *block, const char *name, const struct client_names *client)
{
    struct err err;
    assert_int_equal(0, export_check(block, name, client, &err));
    struct device *device = export_use(block, name, client, &err);
    assert_non_null(device);
    export_unuse(block, device);
}

static void must_refuse(struct block *block, const char *name, const struct client_names *client)
{
    struct err err;
    assert_int_equal(-1, export_check(block, name, client, &err));
    assert_int_equal(ErrForbidden, err.code);
    err.code = ErrInternalError;
    assert_null(export_use(block, name, client, &err));
    assert_int_equal(ErrForbidden, err.code);
    assert_non_null(strstr(err.message, name));
    assert_non_null(strstr(err.message, "; "));
}

static void freeze(struct block *block)
{
    struct err err;
    CLEANUP_FREE char *image = scratch_path("d0.qcow2");
    group_take(block, "g.qcow2", 1, NAMES);
    assert_int_equal(0, block_frozen_add(block, "d0", "g", "id", image, NULL, "qcow2", NULL, &err));
}

static void open_again(struct block *block, const unsigned char *id,
                       struct allowed_clients *clients)
{
    struct err err;
    struct device_spec spec = {
        .name = "d0", .image = "d0.g.qcow2", .format = "qcow2", .clients = clients};
    memcpy(spec.id, id, sizeof(spec.id));
    assert_int_equal(0, block_device_close(block, "d0", &err));
    assert_int_equal(0, block_device_open(block, &spec, &err));
    block_device_export(block, "d0");
}

TEST(any_name_of_a_client_counts)
{
    struct block *block = *state;
    must_admit(block, "d0", &nobody);
    allow(block, "d0", "carol", "bob");
    must_admit(block, "d0", &bob);
    must_refuse(block, "d0", &alice);
    must_refuse(block, "d0", &nobody);
    must_admit(block, "d1", &nobody);
    block_device_allow(block, "d0", NULL);
    must_admit(block, "d0", &nobody);
}

TEST(names_are_compared_whole)
{
    struct block *block = *state;
    static const struct client_names near[] = {
        {1, {"alic"}}, {1, {"alice2"}}, {1, {"Alice"}}, {1, {""}}};
    allow(block, "d0", "alice", NULL);
    for (size_t i = 0; i < sizeof(near) / sizeof(*near); i++)
        must_refuse(block, "d0", &near[i]);
}

TEST(connected_clients_stay)
{
    struct block *block = *state;
    struct err err;
    allow(block, "d0", "alice", NULL);
    struct device *device = export_use(block, "d0", &alice, &err);
    assert_non_null(device);
    allow(block, "d0", "bob", NULL);
    must_refuse(block, "d0", &alice);
    must_admit(block, "d0", &bob);
    export_unuse(block, device);
}

TEST(frozen_images_follow_their_device)
{
    struct block *block = *state;
    allow(block, "d0", "alice", NULL);
    freeze(block);
    must_admit(block, "d0@g", &alice);
    must_refuse(block, "d0@g", &bob);
    must_refuse(block, "d0@id", &nobody);
    allow(block, "d0", "bob", NULL);
    must_admit(block, "d0@id", &bob);
    must_refuse(block, "d0@g", &alice);
    block_device_allow(block, "d0", NULL);
    must_admit(block, "d0@g", &nobody);
}

TEST(frozen_images_of_detached_devices_keep_the_last_list)
{
    struct block *block = *state;
    struct allowed_clients *others = list_of("bob", NULL);
    group_take(block, "g.qcow2", 1, NAMES);
    open_again(block, first_id, NULL);
    CLEANUP_FREE char *image = scratch_path("d0.qcow2");
    struct err err;
    assert_int_equal(0, block_frozen_add(block, "d0", "g", "id", image, NULL, "qcow2", NULL, &err));
    allow(block, "d0", "alice", NULL);
    open_again(block, second_id, others);
    must_admit(block, "d0", &bob);
    must_admit(block, "d0@g", &alice);
    must_refuse(block, "d0@g", &bob);
    block_device_allow(block, "d0", NULL);
    must_refuse(block, "d0@g", &nobody);
    allowed_clients_unref(others);
}

TEST(recorded_owners_are_known_again)
{
    struct block *block = *state;
    struct err err;
    struct allowed_clients *recorded = list_of("alice", NULL);
    const struct frozen_owner gone = {first_id, recorded}, there = {second_id, recorded};
    CLEANUP_FREE char *image = scratch_path("d0.qcow2");
    group_take(block, "g.qcow2", 1, NAMES);
    open_again(block, second_id, NULL);
    assert_int_equal(0, block_frozen_add(block, "d0", "g", "1", image, NULL, "qcow2", &gone, &err));
    assert_int_equal(0,
                     block_frozen_add(block, "d0", "h", "2", image, NULL, "qcow2", &there, &err));
    allowed_clients_unref(recorded);
    must_refuse(block, "d0@g", &bob);
    must_admit(block, "d0@g", &alice);
    must_admit(block, "d0@h", &nobody); /* the device says who */
}

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(unsigned *)arg;
    return 0;
}

TEST(lists_leave_out_what_is_refused)
{
    struct block *block = *state;
    struct export_cursor all = {0}, few = {0};
    unsigned for_alice = 0, for_bob = 0;
    freeze(block);
    allow(block, "d0", "alice", NULL);
    export_list(block, &all, &alice, count_name, &for_alice);
    export_list(block, &few, &bob, count_name, &for_bob);
    assert_int_equal(for_alice, for_bob + 2); /* d0, d0@g */
    assert_true(for_bob > 0);
}
