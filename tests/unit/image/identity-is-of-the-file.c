/* SPDX-License-Identifier: Apache-2.0
 *
 * A file's identity stays through a rename, a second name, writes and another open; a copy, a
 * successor under the same name and one that got the same inode number have others.
 */
#include "block/image/identity.h"
#include "tests/lib/testlib.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct identity of(const char *name, ino_t *ino)
{
    struct identity identity;
    struct stat st;
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(identity_of(fd, &identity), 0);
    assert_int_equal(fstat(fd, &st), 0);
    if (ino)
        *ino = st.st_ino;
    return identity;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(stays_with_the_file)
{
    shell("echo one >a");
    struct identity first = of("a", NULL), second;
    shell("mv a b && ln b c && echo two >>b && chmod 400 b && touch -d 2001-01-01 b");
    second = of("b", NULL);
    assert_true(identity_is_same(&first, &second));
    second = of("c", NULL);
    assert_true(identity_is_same(&first, &second));
}

TEST(is_of_no_other)
{
    shell("echo one >a && cp --preserve=all a b && truncate -s 0 c");
    struct identity a = of("a", NULL), b = of("b", NULL), unknown = {.text = ""};
    assert_false(identity_is_same(&a, &b));
    assert_false(identity_is_same(&unknown, &unknown));
    shell("mv b a");
    struct identity now = of("a", NULL);
    assert_false(identity_is_same(&a, &now));
    assert_true(identity_is_same(&b, &now));
}

/* Some file systems give an inode number again at once. */
TEST(is_of_no_successor)
{
    for (int i = 0; i < 20; i++) {
        ino_t before, after;
        shell("echo one >a");
        struct identity old = of("a", &before);
        shell("rm a; echo two >a");
        struct identity new = of("a", &after);
        assert_false(identity_is_same(&old, &new));
    }
}
