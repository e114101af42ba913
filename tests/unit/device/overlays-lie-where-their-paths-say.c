/* SPDX-License-Identifier: Apache-2.0
 *
 * The overlays of a group are made where their paths say, also beside a member whose directory has
 * the same name or begins like it; a path that names no file is refused beside one that does.
 */
#include "tests/lib/disks.h"

#include <string.h>

static struct group *begin(struct block *block, const char *first, const char *second,
                           const char *third, size_t *failed_member, struct err *err)
{
    const struct group_member members[] = {
        {.device = "d0", .snapshot_file = first, .format = "qcow2"},
        {.device = "d1", .snapshot_file = second, .format = "qcow2"},
        {.device = "d2", .snapshot_file = third, .format = "qcow2"}};
    shell("mkdir -p a ab/a");
    return group_begin(block, owner_id, members, 3, failed_member, err);
}

static void each_must_be_made(struct block *block, const char *first, const char *second,
                              const char *third)
{
    struct err err;
    size_t failed_member;
    struct group *group = begin(block, first, second, third, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(group_prepare(group, &failed_member, &err), 0);
    assert_int_equal(shell_status("test -f a/d0 -a -f a/d1 -a -f ab/d2"), 0);
    assert_int_equal(group_abort(group, &err), 0);
    group_free(group);
    assert_int_equal(shell_status("find a ab -type f | grep ."), 1);
}

static void the_second_must_be_refused(struct block *block, const char *first, const char *second)
{
    struct err err;
    size_t failed_member;
    assert_null(begin(block, first, second, "ab/d2", &failed_member, &err));
    assert_int_equal(failed_member, 1);
    assert_int_equal(err.code, ErrOpenFileFailed);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(however_they_are_written)
{
    each_must_be_made(*state, "a/d0", "a/d1", "ab/d2");
    each_must_be_made(*state, "a//d0", "a//d1", "ab/d2");
    each_must_be_made(*state, "a/d0", "a//d1", "ab/a/../d2");
    each_must_be_made(*state, "ab/../a/d0", "ab/../a/d1", "./ab/d2");
}

TEST(what_names_no_file)
{
    the_second_must_be_refused(*state, "a/d0", "a/");
    the_second_must_be_refused(*state, "a/d0", "a/.");
    the_second_must_be_refused(*state, "a/d0", "a/..");
    the_second_must_be_refused(*state, "a/d0", "a/d0");
    the_second_must_be_refused(*state, "d00", "");
}
