/* SPDX-License-Identifier: Apache-2.0
 *
 * Headers that lead back to an image already met are refused, naming the loop; a symbolic or a hard
 * link in between does not hide it.
 */
#include "tests/lib/testlib.h"

static void rebase(const char *image, const char *backing)
{
    shell("qemu-img rebase -q -u -f qcow2 -b %s -F qcow2 %s", backing, image);
}

static void refuse_both(const char *const *words)
{
    chain_must_refuse("a", "qcow2", true, ErrInvalidBlockFormat, words);
    chain_must_refuse("a", "qcow2", false, ErrInvalidBlockFormat, words);
    shell("rm -f a b c");
}

static void create_chain(void)
{
    shell("qemu-img create -q -f qcow2 c 1M");
    shell("qemu-img create -q -f qcow2 -b c -F qcow2 b");
    shell("qemu-img create -q -f qcow2 -b b -F qcow2 a");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(own_backing_file)
{
    create_chain();
    rebase("a", "a");
    refuse_both(WORDS("loop", "/a'"));
}

TEST(loop_of_three)
{
    create_chain();
    rebase("c", "a");
    refuse_both(WORDS("loop", "/c'", "/a'"));
}

TEST(loop_below_the_top)
{
    create_chain();
    rebase("c", "b");
    refuse_both(WORDS("loop", "/c'", "/b'"));
}

TEST(loop_through_links)
{
    create_chain();
    shell("ln a hard");
    rebase("c", "hard");
    refuse_both(WORDS("loop", "/c'"));
    create_chain();
    shell("ln -s b soft");
    rebase("c", "soft");
    refuse_both(WORDS("loop", "/c'"));
}
