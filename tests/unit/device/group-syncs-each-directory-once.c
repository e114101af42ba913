/* SPDX-License-Identifier: Apache-2.0
 *
 * A group syncs each directory of its overlays once, when they have their names and when they have
 * lost them again; a failed sync is reported (-Wl,--wrap, tests/CMakeLists.txt).
 */
#include "block/image/sync.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int directories; /* synced */
static int failure;     /* of the syncs of directories */
static bool is_counted; /* by file_sync_all() */

int __real_fsync(int fd);
int __wrap_fsync(int fd);
void __real_file_sync_all(const int *fds, size_t count, int *results);
void __wrap_file_sync_all(const int *fds, size_t count, int *results);

static bool is_directory(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

int __wrap_fsync(int fd)
{
    if (!is_directory(fd))
        return __real_fsync(fd);
    directories += !is_counted;
    errno = failure;
    return failure ? -1 : __real_fsync(fd);
}

void __wrap_file_sync_all(const int *fds, size_t count, int *results)
{
    for (size_t i = 0; i < count; i++)
        directories += is_directory(fds[i]);
    is_counted = true;
    __real_file_sync_all(fds, count, results);
    is_counted = false;
}

/* The overlays of d0 and d2 in one directory, that of d1 in another. */
static struct group *begin_in_two(struct block *block)
{
    static const struct group_member members[] = {
        {.device = "d0", .snapshot_file = "a/d0.qcow2", .format = "qcow2"},
        {.device = "d1", .snapshot_file = "b/d1.qcow2", .format = "qcow2"},
        {.device = "d2", .snapshot_file = "a/d2.qcow2", .format = "qcow2"}};
    struct err err;
    size_t failed_member;
    shell("mkdir -p a b");
    struct group *group = group_begin(block, owner_id, members, 3, &failed_member, &err);
    assert_non_null(group);
    return group;
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(in_prepare)
{
    struct err err;
    size_t failed_member;
    struct group *group = begin_in_two(*state);
    directories = 0;
    assert_int_equal(group_prepare(group, &failed_member, &err), 0);
    assert_int_equal(directories, 2);
    assert_int_equal(group_abort(group, &err), 0);
    group_free(group);
}

TEST(in_abort)
{
    struct err err;
    size_t failed_member;
    struct group *group = begin_in_two(*state);
    assert_int_equal(group_prepare(group, &failed_member, &err), 0);
    directories = 0;
    assert_int_equal(group_abort(group, &err), 0);
    assert_int_equal(directories, 2);
    group_free(group);
    assert_int_equal(shell_status("ls a b | grep qcow2"), 1);
}

TEST(a_failure_is_reported)
{
    struct err err;
    size_t failed_member;
    struct group *group = begin_in_two(*state);
    assert_int_equal(group_prepare(group, &failed_member, &err), 0);
    failure = EIO;
    directories = 0;
    assert_int_equal(group_abort(group, &err), -1);
    failure = 0;
    assert_int_equal(err.errnum, EIO);
    assert_int_equal(directories, 2);
    group_free(group);
}
