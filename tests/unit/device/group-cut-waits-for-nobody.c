/* SPDX-License-Identifier: Apache-2.0
 *
 * The cut while a write of 4 KiB is in flight: it waits for nobody, and nobody waits for it, except
 * a change that copies what is being written. The write is in the snapshot and in the live disk,
 * the member is sealed when it has ended, and its device is in no second group before.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <string.h>

enum { UNIT = 4096, SECTOR = 512, IN_FLIGHT = 3 /* the block that is being written */ };
static const char *const NAMES[] = {"d0", "d1"};

struct job {
    pthread_t thread;
    struct block *block;
    struct group *group;
    uint64_t offset, length, sealed_us;
    unsigned char value;
    int ret;
};

static void *write_run(void *arg)
{
    struct job *job = arg;
    unsigned char bytes[2 * UNIT];
    memset(bytes, job->value, sizeof(bytes));
    job->ret = device_write(disk(job->block, "d0"), bytes, job->offset, job->length, 0);
    return NULL;
}

static void *finish_run(void *arg)
{
    struct job *job = arg;
    job->sealed_us = group_must_finish(job->group);
    return NULL;
}

static void job_start(struct job *job, void *(*run)(void *))
{
    assert_int_equal(pthread_create(&job->thread, NULL, run, job), 0);
}

/* Until a thread waits for changes of the device, whose frozen image is not sealed before. */
static void await_waiter(struct device *device)
{
    for (unsigned waiting = 0; !waiting; sched_yield()) {
        assert_non_null(index_unsealed(device->index));
        for (size_t i = 0; i < CHANGES_STRIPES; i++) {
            LOCK_GUARD(&device->changes.stripes[i].lock);
            waiting += device->changes.stripes[i].waiting;
        }
    }
}

static unsigned char byte_at(struct block *block, uint64_t offset)
{
    unsigned char byte;
    assert_int_equal(device_read(disk(block, "d0"), &byte, offset, 1), 0);
    return byte;
}

/* A group of d0 and d1, cut while a write of the value 2 to a block of d0 is in flight. */
static struct group *cut_during_write(struct block *block, struct job *in_flight)
{
    disk_write(block, "d0", IN_FLIGHT, 1);
    disk_write(block, "d1", IN_FLIGHT, 1);
    struct group *group = group_must_prepare(block, "g.qcow2", 2, NAMES);
    *in_flight = (struct job){
        .block = block, .offset = IN_FLIGHT * UNIT, .length = UNIT, .value = 2, .group = group};
    faulty_hold_writes("/d0.qcow2");
    job_start(in_flight, write_run);
    faulty_wait_held(1);
    group_must_cut(group);
    return group;
}

/* Ends the write in flight and the group. */
static void let_go(struct job *in_flight)
{
    faulty_let_writes_go();
    pthread_join(in_flight->thread, NULL);
    assert_int_equal(in_flight->ret, 0);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(nobody_waits)
{
    struct block *block = *state;
    struct job in_flight, finish;
    finish = (struct job){.group = cut_during_write(block, &in_flight)};
    job_start(&finish, finish_run);
    await_waiter(disk(block, "d0"));
    assert_ptr_equal(index_unsealed(disk(block, "d0")->index),
                     index_top(disk(block, "d0")->index)->backing);

    disk_write(block, "d0", 7, 4);         /* another place */
    disk_write(block, "d0", IN_FLIGHT, 5); /* the same: it copies nothing */
    disk_write(block, "d1", IN_FLIGHT, 6);
    assert_int_equal(disk_read(block, "d0", 7), 4);
    assert_int_equal(disk_read(block, "d0", IN_FLIGHT), 5);
    assert_int_equal(device_discard(disk(block, "d0"), 65536 + SECTOR, 65536, 0), 0);
    assert_int_equal(device_flush(disk(block, "d0")), 0);
    let_go(&in_flight);
    pthread_join(finish.thread, NULL);
    struct group_member_info info;
    group_member_info(finish.group, 0, &info);
    assert_int_equal(info.copy_wait_us, 0);
    assert_true(finish.sealed_us > 0);
    group_free(finish.group);

    assert_int_equal(disk_read(block, "d0", IN_FLIGHT), 5);
    assert_int_equal(disk_read(block, "d1", IN_FLIGHT), 6);
    assert_true(image_has("d0.qcow2", "qcow2", IN_FLIGHT, 2));
    assert_true(image_has("d0.qcow2", "qcow2", 7, 0));
    assert_true(image_has("d1.qcow2", "qcow2", IN_FLIGHT, 1));
}

/* NBD has writes of no bytes. One at the disk's start lies in no range, but looks at the image. */
TEST(an_empty_change_is_waited_for_too)
{
    struct block *block = *state;
    struct device *device = disk(block, "d0");
    struct job finish = {.group = group_must_prepare(block, "g.qcow2", 1, NAMES)};
    struct change empty;
    changes_begin(&device->changes, &device->index, &empty, 0, 0);
    group_must_cut(finish.group);
    job_start(&finish, finish_run);
    await_waiter(device);
    assert_int_equal(node_change(empty.node, &(struct node_change){.kind = NODE_WRITE}), 0);
    changes_end(&empty);
    pthread_join(finish.thread, NULL);
    group_free(finish.group);
}

TEST(what_copies_waits_for_the_overlapping_write_alone)
{
    struct block *block = *state;
    struct device *device = disk(block, "d0");
    struct job in_flight, copier = {.block = block, .value = 3, .length = SECTOR};
    unsigned char bytes[SECTOR] = {9};
    struct group *group = cut_during_write(block, &in_flight);
    copier.offset = IN_FLIGHT * UNIT + SECTOR;
    assert_int_equal(device_write_cached(device, bytes, copier.offset, SECTOR), -EAGAIN);
    job_start(&copier, write_run);
    await_waiter(device);
    assert_int_equal(device_write(device, bytes, 9 * UNIT + SECTOR, SECTOR, 0), 0); /* elsewhere */
    assert_int_equal(device_zero(device, 11 * UNIT + SECTOR, SECTOR, 0), 0);
    let_go(&in_flight);
    pthread_join(copier.thread, NULL);
    assert_int_equal(copier.ret, 0);
    group_must_finish(group);
    struct group_member_info info;
    group_member_info(group, 0, &info);
    assert_true(info.copy_wait_us > 0);
    group_free(group);
    assert_int_equal(byte_at(block, IN_FLIGHT * UNIT), 2);
    assert_int_equal(byte_at(block, IN_FLIGHT * UNIT + SECTOR), 3);
    assert_int_equal(byte_at(block, IN_FLIGHT * UNIT + 2 * SECTOR), 2);
    assert_true(image_has("d0.qcow2", "qcow2", IN_FLIGHT, 2));
}

/* What a read has mapped through the new top does not outlive a change of the old one. */
TEST(a_read_through_the_new_top_sees_the_write_once_it_ended)
{
    struct block *block = *state;
    struct job in_flight;
    struct group *group = cut_during_write(block, &in_flight);
    assert_int_equal(disk_read(block, "d0", IN_FLIGHT), 1);
    assert_int_equal(disk_read(block, "d0", 8), 0);
    let_go(&in_flight);
    assert_int_equal(disk_read(block, "d0", IN_FLIGHT), 2);
    group_must_finish(group);
    assert_int_equal(disk_read(block, "d0", IN_FLIGHT), 2);
    group_free(group);
}

/* Also one that comes after the first. */
TEST(every_flush_covers_the_unsealed_image)
{
    struct block *block = *state;
    struct job in_flight;
    struct group *group = cut_during_write(block, &in_flight);
    assert_int_equal(device_flush(disk(block, "d0")), 0);
    int before = faulty_flushes("/d0.qcow2");
    let_go(&in_flight);
    assert_int_equal(device_flush(disk(block, "d0")), 0);
    assert_int_equal(faulty_flushes("/d0.qcow2"), before + 1);
    group_must_finish(group);
    group_free(group);
}

TEST(a_device_is_in_no_second_group_before_it_is_sealed)
{
    struct block *block = *state;
    struct job in_flight;
    size_t failed_member;
    struct err err;
    struct group *group = cut_during_write(block, &in_flight);
    assert_null(group_of(block, "h.qcow2", 1, NAMES, &failed_member, &err));
    assert_int_equal(err.code, ErrDeviceInUse);
    let_go(&in_flight);
    group_must_finish(group);
    group_free(group);
    group_take(block, "h.qcow2", 1, NAMES);
}
