/* SPDX-License-Identifier: Apache-2.0
 *
 * An fdatasync that fails without anybody having asked for it, in the flusher or before a write,
 * fails the device too. And a restart does not undo it: a device that comes back by itself is
 * refused, with the reason, its journal is not replayed and nothing is written to the image; nor is
 * it attached by hand but by somebody who says that he gives up what may be lost: then it is as the
 * file says. In another boot the disk itself is what is read, and there is nothing to remember.
 *
 * Puts its own fdatasync between the drivers and the kernel.
 */
#include "tests/lib/disks.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

enum { CLUSTER_BYTES = 512 };

static atomic_bool disk_is_broken;

int fdatasync(int fd)
{
    if (!atomic_load(&disk_is_broken))
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

static int attach(struct block *block, const char *image, bool discard, struct err *err)
{
    const struct device_spec spec = {.name = "vda",
                                     .image = image,
                                     .format = strrchr(image, '.') + 1,
                                     .discard_unflushed = discard};
    if (block_device_open(block, &spec, err) != 0)
        return -1;
    block_device_export(block, "vda");
    return 0;
}

static void must_attach(struct block *block, const char *image, bool discard)
{
    struct err err;
    if (attach(block, image, discard, &err) != 0)
        fail_msg("%s", err.message);
}

static void must_be_refused(struct block *block, const char *image)
{
    struct err err;
    assert_int_equal(attach(block, image, false, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    assert_non_null(strstr(err.message, "could not be made durable"));
}

static void must_have_failed(struct block *block)
{
    struct err err;
    struct device_info info;
    assert_int_equal(block_device_info(block, "vda", &info, &err), 0);
    assert_true(info.failed);
    assert_non_null(strstr(info.reason, "could not be made durable"));
    device_info_clear(&info);
    assert_int_equal(device_write(disk(block, "vda"), "x", 0, 1, 0), -EIO);
}

/* A daemon that ends: whatever a failed device has is not flushed. */
static void end(struct block *block)
{
    block_close(block, &(struct err){0});
}

static void fail_by_flush(struct block *block)
{
    disk_write(block, "vda", 0, 7);
    atomic_store(&disk_is_broken, true);
    assert_int_equal(device_flush(disk(block, "vda")), -EIO);
    must_have_failed(block);
    end(block);
    atomic_store(&disk_is_broken, false);
}

static int begin(void **state)
{
    scratch_begin(state);
    shell("mkdir run");
    shell("qemu-img create -q -f qcow2 -o cluster_size=%d vda.qcow2 64M", CLUSTER_BYTES);
    shell("qemu-img create -q -f raw vda.raw 1M");
    return 0;
}

static int finish(void **state)
{
    atomic_store(&disk_is_broken, false);
    return scratch_end(state);
}

static const struct fixture fixture = {.begin = begin, .end = finish};

TEST(nobody_asked_for_the_flush)
{
    struct block *block = journals_must_open();
    must_attach(block, "vda.qcow2", false);
    atomic_store(&disk_is_broken, true);
    /* Far enough apart that each changes another part of the tables, until the flusher has run. */
    int ret = 0;
    for (uint64_t i = 0; ret == 0; i++)
        ret = device_write(disk(block, "vda"), "x", i * 37 * CLUSTER_BYTES % (64 << 20), 1, 0);
    assert_int_equal(ret, -EIO);
    must_have_failed(block);
    end(block);
}

static void a_restart_remembers(const char *image)
{
    struct block *block = journals_must_open();
    must_attach(block, image, false);
    fail_by_flush(block);
    block = journals_must_open();
    CLEANUP_FREE char *left = shell_output("sha256sum %s run/journals/*", image);
    must_be_refused(block, image);
    end(block);
    block = journals_must_open();
    must_be_refused(block, image);
    CLEANUP_FREE char *now = shell_output("sha256sum %s run/journals/*", image);
    assert_string_equal(left, now);

    must_attach(block, image, true);
    disk_write(block, "vda", 1, 9);
    assert_int_equal(device_flush(disk(block, "vda")), 0);
    end(block);
    block = journals_must_open();
    must_attach(block, image, false);
    assert_int_equal(disk_read(block, "vda", 1), 9);
    end(block);
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
}

TEST(a_restart_remembers_qcow2)
{
    a_restart_remembers("vda.qcow2");
    int status = shell_status("qemu-img check -q -f qcow2 vda.qcow2");
    assert_true(status == 0 || status == 3); /* what was given up may have leaked */
}

TEST(a_restart_remembers_raw)
{
    a_restart_remembers("vda.raw");
}

TEST(an_image_that_recovery_cannot_sync)
{
    struct err err;
    shell("qemu-img create -q -f qcow2 -b vda.qcow2 -F qcow2 above.qcow2");
    struct block *block = journals_must_open();
    atomic_store(&disk_is_broken, true);
    assert_int_equal(block_image_sync(block, "vda.qcow2", &err), -1);
    atomic_store(&disk_is_broken, false);
    must_be_refused(block, "above.qcow2");
    must_attach(block, "above.qcow2", true);
    end(block);
}

TEST(another_boot_has_nothing_to_remember)
{
    struct block *block = journals_must_open();
    must_attach(block, "vda.qcow2", false);
    fail_by_flush(block);
    shell("LC_ALL=C sed -i \"s/$(cat /proc/sys/kernel/random/boot_id)/"
          "00000000-1111-2222-3333-444444444444/\" run/journals/*");
    block = journals_must_open();
    must_attach(block, "vda.qcow2", false);
    end(block);
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
}
