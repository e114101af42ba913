/* SPDX-License-Identifier: Apache-2.0
 * label: one-thread
 *
 * A write or a sync of the image's file fails, once: the first, then the second, the third, and so
 * on until a whole run sees no failure. Each time the request that hits it reports an error or does
 * without; what other requests wrote stays as it was; the image stays free of errors (leaks aside)
 * and can be opened and written again.
 *
 * The failures come from this program's own pwrite64, fallocate64, ftruncate64 and fdatasync, which
 * stand between the driver and the kernel.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DISK_BYTES = 512 << 10, REQUESTS = 30, CHECK_LEAKS = 3 };

static struct {
    bool armed;
    unsigned countdown; /* the call that takes it to 0 fails */
    int errnum;
    bool hit;
} fault;

static bool fault_due(void)
{
    if (!fault.armed || fault.hit || --fault.countdown)
        return false;
    fault.hit = true;
    errno = fault.errnum;
    return true;
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
    return fault_due() ? -1 : syscall(SYS_pwrite64, fd, buf, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
    return fault_due() ? -1 : syscall(SYS_pwritev, fd, vector, (long)count, offset, 0L);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    return fault_due() ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int ftruncate64(int fd, off64_t length)
{
    return fault_due() ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int fdatasync(int fd)
{
    return fault_due() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* One request. `loose` are the bytes that a failed or a discarding one leaves undefined. */
static void guest_request(struct node *node, struct flat *flat, unsigned char *loose,
                          struct random *random)
{
    uint64_t offset = random_below(random, DISK_BYTES / 512) * 512;
    uint64_t length = random_between(random, 1, 40) * 512, draw = random_below(random, 100);
    int ret;
    if (length > DISK_BYTES - offset)
        length = DISK_BYTES - offset;
    if (draw < 60) {
        random_fill(random, flat->bytes + offset, length);
        ret = node_write(node, flat->bytes + offset, offset, length);
    } else if (draw < 75) {
        memset(flat->bytes + offset, 0, length);
        ret = node_zero(node, offset, length, true);
    } else if (draw < 90) {
        ret = node_discard(node, offset, length);
    } else {
        ret = node_flush(node);
        length = 0;
    }
    if (ret && !fault.hit)
        fail_msg("a request fails without a reason: %s", strerror(-ret));
    memset(loose + offset, ret != 0 || draw >= 75, length);
}

static void must_hold(const struct flat *flat, const unsigned char *loose, unsigned position)
{
    CLEANUP_FREE unsigned char *found = malloc(DISK_BYTES);
    assert_non_null(found);
    struct node *node = chain_must_open("top.qcow2", "qcow2", false);
    assert_int_equal(node_read(node, found, 0, DISK_BYTES), 0);
    for (uint64_t i = 0; i < DISK_BYTES; i++)
        if (found[i] != flat->bytes[i] && !loose[i])
            fail_msg("failure %u: byte %" PRIu64 " is 0x%02x, not 0x%02x", position, i, found[i],
                     flat->bytes[i]);
    assert_int_equal(node_write(node, found, 0, DISK_BYTES), 0);
    node_must_close(&node);
    int status = shell_status("qemu-img check -f qcow2 top.qcow2");
    assert_true(status == 0 || status == CHECK_LEAKS);
}

/* The same requests every time, with the failure at `position`. Returns whether it came to pass. */
static bool run_with_failure(const struct flat *start, unsigned position, int errnum)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    CLEANUP(flat) struct flat *flat = flat_copy(start, DISK_BYTES);
    CLEANUP_FREE unsigned char *loose = calloc(1, DISK_BYTES);
    assert_non_null(loose);
    shell("cp start.qcow2 top.qcow2");
    struct node *node = chain_must_open("top.qcow2", "qcow2", false);
    fault = (__typeof__(fault)){.armed = true, .countdown = position, .errnum = errnum};
    for (int i = 0; i < REQUESTS; i++)
        guest_request(node, flat, loose, &random);
    int ret = node_flush(node);
    if (ret && !fault.hit)
        fail_msg("a flush fails without a reason: %s", strerror(-ret));
    fault.armed = false;
    node_unref(node);
    int status = shell_status("qemu-img check -f qcow2 top.qcow2 >check.log");
    if (status != 0 && status != CHECK_LEAKS) {
        CLEANUP_FREE char *log = shell_output("head -c 600 check.log");
        fail_msg("failure %u: qemu-img check ended with %d: %s", position, status, log);
    }
    if (ret == 0) /* else what was not flushed may be lost with the driver's memory */
        must_hold(flat, loose, position);
    return fault.hit;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(failing_writes_are_survived)
{
    const struct image_options variants[] = {
        {.cluster_bytes = 512, .refcount_bits = 64},
        {.cluster_bytes = 4096, .refcount_bits = 16},
        {.cluster_bytes = 16384, .refcount_bits = 16, .extended_l2 = true},
    };
    const unsigned step = TEST_SANITIZED ? 7 : 1;
    for (unsigned i = 0; i < 3; i++) {
        struct random random = random_seeded(i);
        image_create("base.qcow2", &variants[i], DISK_BYTES, NULL, NULL);
        image_fill("base.qcow2", DISK_BYTES, variants[i].cluster_bytes, &random);
        image_create("start.qcow2", &variants[i], DISK_BYTES, "base.qcow2", "qcow2");
        image_fill("start.qcow2", DISK_BYTES / 2, variants[i].cluster_bytes, &random);
        image_snapshot("start.qcow2", "one");
        CLEANUP(flat) struct flat *start = image_truth("start.qcow2", "qcow2");
        unsigned position = 1;
        while (run_with_failure(start, position, position % 2 ? EIO : ENOSPC) && position < 200)
            position += step;
        printf("%s: %u failures\n", image_options_text(&variants[i]), position - 1);
    }
}
