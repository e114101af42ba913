/* SPDX-License-Identifier: Apache-2.0
 *
 * An image that nobody writes is open once, however many chains have it: one descriptor, one lock
 * and one node. It stays as long as one of them, and its writer is refused until the last is gone.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

static void create_overlays(void)
{
    shell("qemu-img create -q -f qcow2 base.qcow2 1M");
    shell("qemu-io -f qcow2 -c 'write -q -P 7 0 4k' base.qcow2");
    shell("qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2");
    for (char name = 'a'; name <= 'h'; name++)
        shell("qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 %c.qcow2", name);
}

static void writer_must_be_refused(struct block *block, const struct device_spec *writer,
                                   const char *user)
{
    struct err err;
    assert_int_equal(-1, block_device_open(block, writer, &err));
    assert_int_equal(ErrImageInUse, err.code);
    assert_non_null(strstr(err.message, user));
}

TEST(test_overlays_of_one_image)
{
    struct block *block = *state;
    struct err err;
    create_overlays();
    disk_attach(block, "a", "a.qcow2");
    disk_attach(block, "b", "b.qcow2");
    disk_attach_read_only(block, "m", "middle.qcow2");
    struct node *middle = disk(block, "a")->newest->backing;
    assert_ptr_equal(middle, disk(block, "b")->newest->backing);
    assert_ptr_equal(middle, disk(block, "m")->newest);
    assert_int_equal(1, descriptors_of("middle.qcow2"));
    assert_int_equal(1, descriptors_of("base.qcow2"));
    disk_write(block, "a", 0, 1);
    disk_detach(block, "a");
    assert_int_equal(7, disk_read(block, "b", 0));
    struct device_spec writer = {.name = "w", .image = "middle.qcow2", .format = "qcow2"};
    disk_detach(block, "m");
    writer_must_be_refused(block, &writer, "device 'b'"); /* not by a, which opened it */
    disk_attach_read_only(block, "m", "middle.qcow2");
    disk_detach(block, "b");
    writer_must_be_refused(block, &writer, "device 'm'");
    disk_detach(block, "m");
    assert_int_equal(0, descriptors_of("middle.qcow2"));
    assert_int_equal(0, block_device_open(block, &writer, &err));
    disk_detach(block, "w");
}

TEST(test_frozen_member)
{
    struct block *block = *state;
    static const char *const NAMES[] = {"d0"};
    disk_write(block, "d0", 0, 1);
    group_take(block, "g.qcow2", 1, NAMES);
    disk_write(block, "d0", 0, 2);
    struct device *member = frozen_use(block, "d0", "g");
    assert_ptr_equal(member->newest, disk(block, "d0")->newest->backing);
    assert_int_equal(1, descriptors_of("d0.qcow2"));
    disk_detach(block, "d0");
    unsigned char byte = 0;
    assert_int_equal(0, device_read(member, &byte, 0, 1));
    assert_int_equal(1, byte);
    export_unuse(block, member);
    assert_int_equal(0, descriptors_of("d0.qcow2"));
}

/* By another name the header's relative names may lead elsewhere: such a chain is its own. */
TEST(test_other_names)
{
    struct block *block = *state;
    create_overlays();
    shell("mkdir -p linked && ln -s ../middle.qcow2 linked/middle.qcow2");
    shell("qemu-img create -q -f qcow2 linked/base.qcow2 1M");
    shell("cd linked && qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 x.qcow2");
    disk_attach(block, "a", "a.qcow2");
    disk_attach(block, "x", "linked/x.qcow2");
    assert_ptr_not_equal(disk(block, "a")->newest->backing, disk(block, "x")->newest->backing);
    assert_int_equal(7, disk_read(block, "a", 0));
    assert_int_equal(0, disk_read(block, "x", 0));
    disk_detach(block, "a");
    disk_detach(block, "x");
}

struct opener {
    struct block *block;
    pthread_barrier_t *start;
    char name[2];
};

static void *open_and_close(void *arg)
{
    struct opener *opener = arg;
    char image[16];
    snprintf(image, sizeof(image), "%s.qcow2", opener->name);
    struct device_spec spec = {.name = opener->name, .image = image, .format = "qcow2"};
    for (int i = 0; i < 50; i++) {
        struct err err;
        pthread_barrier_wait(opener->start);
        if (block_device_open(opener->block, &spec, &err) != 0)
            return opener;
        pthread_barrier_wait(opener->start);
        if (opener->name[0] != 'a' && opener->name[0] != (char)('b' + i % 7) &&
            block_device_close(opener->block, opener->name, &err) != 0)
            return opener;
        pthread_barrier_wait(opener->start);
        if ((opener->name[0] == 'a' || opener->name[0] == (char)('b' + i % 7)) &&
            block_device_close(opener->block, opener->name, &err) != 0)
            return opener;
    }
    return NULL;
}

/* Those that open at once end with one node; those that close at once lose no reference. */
TEST(test_races)
{
    enum { OPENERS = 8 };
    pthread_t threads[OPENERS];
    struct opener openers[OPENERS];
    pthread_barrier_t start;
    create_overlays();
    pthread_barrier_init(&start, NULL, OPENERS + 1);
    for (size_t i = 0; i < OPENERS; i++) {
        openers[i] = (struct opener){*state, &start, {(char)('a' + i), 0}};
        assert_int_equal(0, pthread_create(&threads[i], NULL, open_and_close, &openers[i]));
    }
    for (int i = 0; i < 50; i++) {
        pthread_barrier_wait(&start);
        pthread_barrier_wait(&start);
        struct node *middle = disk(*state, "a")->newest->backing;
        char other[2] = {(char)('b' + i % 7), 0};
        bool is_same = middle == disk(*state, other)->newest->backing;
        pthread_barrier_wait(&start);
        assert_true(is_same);
    }
    for (size_t i = 0; i < OPENERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(0, descriptors_of("middle.qcow2"));
}
