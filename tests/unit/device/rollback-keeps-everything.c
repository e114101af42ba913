/* SPDX-License-Identifier: Apache-2.0
 *
 * A rollback gives its devices the content of frozen images, all or none, while nobody is
 * connected, and keeps all there was: the old tops are frozen, and a rollback to them undoes it.
 * What the images hold is what qemu-io reads from them.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

static const char *const NAMES[] = {"d0", "d1"};

static void disks_fill(struct block *block, unsigned char value)
{
    disk_write(block, "d0", 0, value);
    disk_write(block, "d1", 0, value);
}

static void disks_must_have(struct block *block, unsigned char value)
{
    assert_int_equal(value, disk_read(block, "d0", 0));
    assert_int_equal(value, disk_read(block, "d1", 0));
}

/* Begins a rollback of d0 and d1 to the images BASE(d0) and BASE(d1), with overlays d0.SUFFIX. */
static struct group *rollback_of(struct block *block, const char *const bases[2],
                                 const char *suffix, bool disconnect, struct err *err)
{
    static char files[2][64], images[2][256];
    struct group_base base[2];
    struct group_member members[2];
    unsigned char id[OWNER_ID_BYTES];
    size_t failed_member;
    uuid_generate(id);
    for (size_t i = 0; i < 2; i++) {
        snprintf(files[i], sizeof(files[i]), "%s.%s", NAMES[i], suffix);
        snprintf(images[i], sizeof(images[i]), "%s/%s", scratch_dir(), bases[i]);
        base[i] =
            (struct group_base){.image = images[i], .format = "qcow2", .disconnects = disconnect};
        members[i] = (struct group_member){
            .device = NAMES[i], .snapshot_file = files[i], .format = "qcow2", .base = &base[i]};
    }
    return group_begin(block, id, members, 2, &failed_member, err);
}

static void group_complete(struct group *group)
{
    struct err err = {.message = ""};
    size_t failed_member;
    if (group_prepare(group, &failed_member, &err) != 0)
        fail_msg("%s", err.message);
    group_must_cut(group);
    group_must_finish(group);
    group_free(group);
}

static void rollback(struct block *block, const char *first, const char *second, const char *suffix)
{
    struct err err = {.message = ""};
    const char *const bases[2] = {first, second};
    struct group *group = rollback_of(block, bases, suffix, false, &err);
    if (!group)
        fail_msg("%s", err.message);
    group_complete(group);
}

/* Attached, one group, written again: 1 is frozen, 2 is there now. */
static int rollback_begin(void **state)
{
    disks_begin(state);
    disks_fill(*state, 1);
    group_take(*state, "g.qcow2", 2, NAMES);
    disks_fill(*state, 2);
    return 0;
}
static const struct fixture fixture = {.begin = rollback_begin, .end = disks_end};

TEST(test_there_and_back)
{
    struct block *block = *state;
    rollback(block, "d0.qcow2", "d1.qcow2", "r.qcow2");
    disks_must_have(block, 1);
    disks_fill(block, 3);
    disks_must_have(block, 3);
    assert_true(image_has("d0.qcow2", "qcow2", 0, 1));
    assert_true(image_has("d0.g.qcow2", "qcow2", 0, 2));
    assert_true(image_has("d1.g.qcow2", "qcow2", 0, 2));
    rollback(block, "d0.g.qcow2", "d1.g.qcow2", "u.qcow2");
    disks_must_have(block, 2);
    disks_fill(block, 4);
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_true(image_has("d0.r.qcow2", "qcow2", 0, 3));
    assert_true(image_has("d0.u.qcow2", "qcow2", 0, 4));
    rollback(block, "d0.qcow2", "d1.r.qcow2", "v.qcow2");
    assert_int_equal(1, disk_read(block, "d0", 0));
    assert_int_equal(3, disk_read(block, "d1", 0));
    group_take(block, "w.qcow2", 2, NAMES);
    disks_fill(block, 5);
    disks_must_have(block, 5);
    for (const char *const *image =
             (const char *const[]){"d0.qcow2", "d0.g.qcow2", "d0.r.qcow2", "d0.u.qcow2", NULL};
         *image; image++)
        image_must_be_clean(*image);
}

TEST(test_abort_leaves_all)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    const char *const bases[2] = {"d0.qcow2", "d1.qcow2"};
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_int_equal(0, device_flush(disk(block, "d1")));
    CLEANUP_FREE char *before = scratch_listing();
    struct group *group = rollback_of(block, bases, "r.qcow2", false, &err);
    size_t failed_member;
    assert_non_null(group);
    assert_int_equal(0, group_prepare(group, &failed_member, &err));
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    scratch_listing_must_be(before);
    disks_must_have(block, 2);
    disks_fill(block, 3);
    disks_must_have(block, 3);
}

TEST(test_not_related)
{
    struct block *block = *state;
    struct err err;
    const char *const bases[2] = {"d0.qcow2", "d2.qcow2"};
    assert_int_equal(0, block_device_close(block, "d2", &err));
    assert_null(rollback_of(block, bases, "r.qcow2", false, &err));
    assert_int_equal(ErrNotRelated, err.code);
    disks_must_have(block, 2);
    struct device *client = export_use(block, "d0", &(struct client_names){0}, &err);
    assert_non_null(client);
    export_unuse(block, client);
}

/* ---- clients ---- */

struct client {
    struct export_client client; /* first */
    struct block *block;
    struct device *device;
    pthread_t thread;
};

static void *client_end(void *arg)
{
    struct client *client = arg;
    unsigned char bytes[4096];
    memset(bytes, 9, sizeof(bytes));
    assert_int_equal(0, device_write(client->device, bytes, 0, sizeof(bytes), 0));
    export_leave(client->block, client->device, &client->client);
    export_unuse(client->block, client->device);
    return NULL;
}

/* Its last write is under way when it is asked to end. */
static void client_hang_up(struct export_client *arg)
{
    struct client *client = (struct client *)arg;
    if (!client->thread)
        pthread_create(&client->thread, NULL, client_end, client);
}

TEST(test_clients)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    const char *const bases[2] = {"d0.qcow2", "d1.qcow2"};
    struct client client = {.client.hang_up = client_hang_up, .block = block};
    client.device = export_use(block, "d1", &(struct client_names){0}, &err);
    export_enter(block, client.device, &client.client);
    assert_null(rollback_of(block, bases, "r.qcow2", false, &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    assert_non_null(strstr(err.message, "'d1'"));
    struct group *group = rollback_of(block, bases, "r.qcow2", true, &err);
    assert_non_null(group);
    assert_null(export_use(block, "d0", &(struct client_names){0}, &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    group_complete(group);
    pthread_join(client.thread, NULL);
    disks_must_have(block, 1);
    assert_true(image_has("d1.g.qcow2", "qcow2", 0, 9)); /* not lost */
    struct device *next = export_use(block, "d0", &(struct client_names){0}, &err);
    assert_non_null(next);
    export_unuse(block, next);
}
