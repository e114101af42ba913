/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a file is an overlay that a group made is in its header. Where that cannot be read the
 * removal fails, whichever read it was and whatever the error: the file is not taken for somebody
 * else's, which would leave it there for good. A file that is cut short is somebody else's. pread
 * of the code under test comes by here.
 */
#include "block/format/qcow2/extension.h"
#include "block/overlay.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const NAMES[] = {"d0"};

static unsigned char maker[OWNER_ID_BYTES];
static unsigned calls_left; /* until one fails; 0: none does */
static int failure;

ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset)
{
    if (calls_left > 0 && --calls_left == 0) {
        errno = failure;
        return -1;
    }
    return syscall(SYS_pread64, fd, buffer, length, offset);
}

static int discard(struct block *block, const char *name, struct err *err)
{
    CLEANUP_FREE char *path = scratch_path(name);
    return block_overlay_discard(block, path, NULL, "qcow2", maker, err);
}

static void overlay_make(struct block *block)
{
    group_take(block, "g.qcow2", 1, NAMES);
    CLEANUP_CLOSE int fd = open("d0.g.qcow2", O_RDONLY);
    assert_int_equal(qcow2_group_id(fd, maker), 0);
}

/* How many reads there are. */
static unsigned must_need_each_read(struct block *block, int errnum)
{
    struct err err;
    for (unsigned call = 1;; call++) {
        shell("cp d0.g.qcow2 copy.qcow2");
        failure = errnum;
        calls_left = call;
        int ret = discard(block, "copy.qcow2", &err);
        bool was_reached = calls_left == 0;
        calls_left = 0;
        if (!was_reached) {
            assert_int_equal(ret, 0);
            assert_int_not_equal(access("copy.qcow2", F_OK), 0);
            return call - 1;
        }
        assert_int_equal(ret, -1);
        assert_int_equal(err.errnum, errnum);
        assert_int_equal(access("copy.qcow2", F_OK), 0);
    }
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(every_read_is_needed)
{
    overlay_make(*state);
    assert_true(must_need_each_read(*state, EIO) > 2);
    assert_true(must_need_each_read(*state, ENOMEM) > 2);
}

TEST(a_file_that_is_cut_short_is_somebody_elses)
{
    struct err err;
    overlay_make(*state);
    for (unsigned length = 0; length < 300; length += 4) {
        shell("head -c %u d0.g.qcow2 >copy.qcow2", length);
        assert_int_equal(discard(*state, "copy.qcow2", &err), 0);
        if (length < 120)
            assert_int_equal(access("copy.qcow2", F_OK), 0);
    }
}
