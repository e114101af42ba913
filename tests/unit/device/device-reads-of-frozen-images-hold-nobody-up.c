/* SPDX-License-Identifier: Apache-2.0
 *
 * A read of what a frozen image holds may take as long as its disk likes: the top's io_lock, which
 * a flush needs exclusively before it frees clusters, can be had meanwhile. A read of the top's own
 * data holds it, so that they stay where they are.
 *
 * The pread that looks is this program's own.
 */
#include "tests/lib/disks.h"

#include <sys/syscall.h>
#include <unistd.h>

static struct {
    struct node *top;
    int fd; /* reads of that file look, or -1 */
    unsigned reads, free;
} look = {.fd = -1};

ssize_t pread(int fd, void *buf, size_t length, off_t offset)
{
    if (fd == look.fd) {
        look.reads++;
        if (pthread_rwlock_trywrlock(&look.top->io_lock) == 0) {
            look.free++;
            pthread_rwlock_unlock(&look.top->io_lock);
        }
    }
    return syscall(SYS_pread64, fd, buf, length, offset);
}

/* Reads a block while reads of `node` look; the index knows where it lies. */
static void read_looking(struct block *block, struct node *top, const struct node *node,
                         unsigned block_number, unsigned char value)
{
    assert_int_equal(value, disk_read(block, "d0", block_number));
    look.top = top;
    look.reads = look.free = 0;
    look.fd = node->fd;
    assert_int_equal(value, disk_read(block, "d0", block_number));
    look.fd = -1;
    assert_int_equal(look.reads, 1);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_reads)
{
    static const char *const names[] = {"d0"};
    struct block *block = *state;
    disk_write(block, "d0", 1, 7);
    group_take(block, "g.qcow2", 1, names);
    disk_write(block, "d0", 2, 8);
    CLEANUP(node) struct node *top = device_top(disk(block, "d0"));

    read_looking(block, top, top->backing, 1, 7);
    assert_int_equal(look.free, 1);
    read_looking(block, top, top, 2, 8);
    assert_int_equal(look.free, 0);
}
