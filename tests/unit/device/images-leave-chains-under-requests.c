/* SPDX-License-Identifier: Apache-2.0
 *
 * An image leaves the chains of all devices while they are read and written: what they give stays
 * the same, nothing that was written is lost, and the image is closed. Reads are compared with what
 * qemu-io wrote and with what each writer knows of its own block.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/device/redirect.h"
#include "block/frozen.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { UNIT = 4096, BLOCKS = DISK_BYTES / UNIT, WRITERS = 4, ROUNDS = TEST_SANITIZED ? 6 : 20 };

/* base <- lower <- upper <- a, b: `lower` already has what `upper` has in blocks 8 to 15. */
static void images_create(void)
{
    shell("rm -f base.qcow2 lower.qcow2 upper.qcow2 a.qcow2 b.qcow2");
    shell("qemu-img create -q -f qcow2 base.qcow2 %d", DISK_BYTES);
    shell("qemu-io -f qcow2 -c 'write -q -P 1 0 %d' base.qcow2", DISK_BYTES);
    shell("qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 lower.qcow2");
    shell("qemu-io -f qcow2 -c 'write -q -P 2 16k 16k' -c 'write -q -P 3 32k 32k' lower.qcow2");
    shell("qemu-img create -q -f qcow2 -b lower.qcow2 -F qcow2 middle.qcow2");
    shell("qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 upper.qcow2");
    shell("qemu-io -f qcow2 -c 'write -q -P 3 32k 32k' upper.qcow2");
    for (const char *name = "ab"; *name; name++)
        shell("qemu-img create -q -f qcow2 -b upper.qcow2 -F qcow2 %c.qcow2", *name);
}

static unsigned char expected(unsigned block_number)
{
    return block_number >= 8 && block_number < 16  ? 3
           : block_number >= 4 && block_number < 8 ? 2
                                                   : 1;
}

static struct node *chain_find(struct device *device, const char *name)
{
    struct node *node = device->newest;
    while (node && strcmp(strrchr(node->path, '/') + 1, name) != 0)
        node = node->backing;
    return node;
}

/* ---- requests all the time ---- */

struct requests {
    struct device *device;
    atomic_bool *is_over;
    unsigned number; /* of the thread: the block that it writes is 32 + this */
    unsigned wrong;
    pthread_t thread;
};

static void request_read(struct requests *requests, unsigned block_number, unsigned char value)
{
    unsigned char bytes[UNIT];
    if (device_read(requests->device, bytes, (uint64_t)block_number * UNIT, UNIT) != 0 ||
        bytes[0] != value || bytes[UNIT - 1] != value)
        requests->wrong++;
}

static void *requests_run(void *arg)
{
    struct requests *requests = arg;
    unsigned own = 32 + requests->number;
    unsigned char bytes[UNIT];
    for (unsigned i = 1; !atomic_load(requests->is_over); i++) {
        memset(bytes, (int)(i % 200 + 10), UNIT);
        if (device_write(requests->device, bytes, (uint64_t)own * UNIT, UNIT, 0) != 0)
            requests->wrong++;
        request_read(requests, own, bytes[0]);
        request_read(requests, i % 32, expected(i % 32));
        if (i % 16 == 0 && device_flush(requests->device) != 0)
            requests->wrong++;
        /* A copy from below, beside it. */
        uint64_t at = (uint64_t)(64 + i % 64) * UNIT + requests->number * 512;
        if (device_write(requests->device, bytes, at, 512, 0) != 0)
            requests->wrong++;
    }
    return NULL;
}

static void requests_start(struct block *block, struct requests *requests, atomic_bool *is_over)
{
    atomic_init(is_over, false);
    for (unsigned i = 0; i < WRITERS; i++) {
        requests[i] = (struct requests){disk(block, i % 2 ? "a" : "b"), is_over, i, 0, 0};
        assert_int_equal(0, pthread_create(&requests[i].thread, NULL, requests_run, &requests[i]));
    }
}

static void requests_stop(struct requests *requests, atomic_bool *is_over)
{
    atomic_store(is_over, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(requests[i].thread, NULL);
        assert_int_equal(0, requests[i].wrong);
    }
}

static void redirect(struct block *block, struct device *device)
{
    struct err err = {.message = ""};
    struct node *lower = chain_find(device, "lower.qcow2");
    struct node *upper = chain_find(device, "upper.qcow2");
    assert_non_null(upper);
    assert_int_equal(0, exports_move(block, upper, lower, &err)); /* as a merge does before */
    int ret = redirect_chains(block, upper, lower, NULL, &err);
    if (ret)
        fail_msg("%d: %s", ret, err.message);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_under_requests)
{
    struct block *block = *state;
    struct requests requests[WRITERS];
    atomic_bool is_over;
    for (unsigned round = 0; round < ROUNDS; round++) {
        images_create();
        disk_attach(block, "a", "a.qcow2");
        disk_attach(block, "b", "b.qcow2");
        requests_start(block, requests, &is_over);
        disk_read(block, "a", 9); /* from `upper` */
        redirect(block, disk(block, "a"));
        assert_ptr_equal(chain_find(disk(block, "a"), "lower.qcow2"),
                         disk(block, "b")->newest->backing);
        assert_int_equal(0, descriptors_of("upper.qcow2"));
        assert_int_equal(0, descriptors_of("middle.qcow2"));
        requests_stop(requests, &is_over);
        for (unsigned i = 0; i < 32; i++)
            assert_int_equal(expected(i), disk_read(block, "a", i));
        static const char *const NAMES[] = {"a", "b"};
        char suffix[32];
        snprintf(suffix, sizeof(suffix), "g%u.qcow2", round);
        group_take(block, suffix, 2, NAMES); /* the new index takes part in cuts */
        disk_write(block, "a", 9, 7);
        assert_int_equal(7, disk_read(block, "a", 9));
        assert_int_equal(3, disk_read(block, "b", 9));
        disk_detach(block, "a");
        disk_detach(block, "b");
        assert_int_equal(0, descriptors_of("lower.qcow2"));
    }
}

/* An export of the image itself, and a device that is only read: the same node is the top of both.
 */
TEST(test_tops)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    images_create();
    disk_attach(block, "a", "a.qcow2");
    CLEANUP_FREE char *image = scratch_path("upper.qcow2");
    assert_int_equal(0, block_frozen_add(block, "a", "g", "id", image, NULL, "qcow2", NULL, &err));
    assert_int_equal(0, block_frozen_add(block, "a", "h", "i2", image, NULL, "qcow2", NULL, &err));
    struct device *first = export_use(block, "a@g", &(struct client_names){0}, &err);
    struct device *second = export_use(block, "a@h", &(struct client_names){0}, &err);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_equal(first->newest, second->newest);
    struct requests requests = {.device = first};
    request_read(&requests, 9, 3);
    redirect(block, disk(block, "a"));
    assert_ptr_equal(first->newest, chain_find(disk(block, "a"), "lower.qcow2"));
    request_read(&requests, 9, 3);
    request_read(&requests, 5, 2);
    requests.device = second;
    request_read(&requests, 1, 1);
    assert_int_equal(0, requests.wrong);
    assert_int_equal(0, descriptors_of("upper.qcow2"));
    export_unuse(block, first);
    export_unuse(block, second);
    disk_detach(block, "a");
    assert_int_equal(0, descriptors_of("lower.qcow2"));
}

static void *write_three(void *arg)
{
    disk_write(arg, "a", 40, 3);
    return NULL;
}

/* Within a cut nothing changes; it is repeated once that is sealed. */
TEST(test_within_a_cut)
{
    struct block *block = *state;
    struct err err;
    static const char *const NAMES[] = {"a"};
    pthread_t thread;
    images_create();
    disk_attach(block, "a", "a.qcow2");
    disk_write(block, "a", 40, 1);
    struct group *group = group_must_prepare(block, "g.qcow2", 1, NAMES);
    faulty_hold_writes("/a.qcow2");
    assert_int_equal(0, pthread_create(&thread, NULL, write_three, block));
    faulty_wait_held(1);
    group_must_cut(group);
    struct device *device = disk(block, "a");
    assert_int_equal(1, redirect_chains(block, chain_find(device, "upper.qcow2"),
                                        chain_find(device, "lower.qcow2"), NULL, &err));
    assert_non_null(chain_find(device, "upper.qcow2"));
    faulty_let_writes_go();
    pthread_join(thread, NULL);
    group_must_finish(group);
    group_free(group);
    redirect(block, device);
    assert_null(chain_find(device, "upper.qcow2"));
    assert_int_equal(3, disk_read(block, "a", 40));
    assert_int_equal(3, disk_read(block, "a", 9));
    disk_detach(block, "a");
}

/* The chain that the device gets is no device's yet. */
TEST(test_during_a_rollback)
{
    struct block *block = *state;
    struct err err;
    size_t failed;
    char image[256];
    const unsigned char id[OWNER_ID_BYTES] = {7};
    images_create();
    disk_attach(block, "a", "a.qcow2");
    snprintf(image, sizeof(image), "%s/upper.qcow2", scratch_dir());
    const struct group_base base = {.image = image, .format = "qcow2"};
    const struct group_member member = {
        .device = "a", .snapshot_file = "r.qcow2", .format = "qcow2", .base = &base};
    struct group *group = group_begin(block, id, &member, 1, &failed, &err);
    if (!group)
        fail_msg("%s", err.message);
    struct device *device = disk(block, "a");
    assert_int_equal(1, redirect_chains(block, chain_find(device, "upper.qcow2"),
                                        chain_find(device, "lower.qcow2"), NULL, &err));
    assert_int_equal(0, group_prepare(group, &failed, &err));
    assert_int_equal(1, redirect_chains(block, chain_find(device, "upper.qcow2"),
                                        chain_find(device, "lower.qcow2"), NULL, &err));
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    redirect(block, device);
    assert_null(chain_find(device, "upper.qcow2"));
    disk_detach(block, "a");
}
