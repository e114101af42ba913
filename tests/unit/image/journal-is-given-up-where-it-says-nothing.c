/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal of another boot, and one that was never whole, is deleted, and what is there of the
 * image is as of its last flush. A last record that is torn is left out, the others are replayed. A
 * closed or frozen image leaves no journal. (What is kept: journal-waits-for-its-image.c.)
 */
#include "tests/lib/killable.h"

#include <string.h>
#include <sys/stat.h>

enum { DISK_BYTES = 1 << 20, CLUSTER_BYTES = 4096, RECORD_BYTES = 48, RECORDS_OFFSET = 8192 };

/* Block 0 is flushed as 1; then blocks 0 to 2 become 2, 3, 4, each a record of its own: 0 moves,
 * since it is zeroed in between. */
static int writer(void *arg)
{
    unsigned char buf[CLUSTER_BYTES];
    struct node *node = journaled_open(arg);
    memset(buf, 1, sizeof(buf));
    if (!node || node_write(node, buf, 0, sizeof(buf)) != 0 || node_flush(node) != 0 ||
        node_zero(node, 0, sizeof(buf), true) != 0)
        return 3;
    for (unsigned i = 0; i < 3; i++) {
        memset(buf, (int)i + 2, sizeof(buf));
        if (node_write(node, buf, i * sizeof(buf), sizeof(buf)) != 0)
            return 4;
    }
    die();
    return 0;
}

static void leave_behind(void)
{
    shell("rm -rf top.qcow2 run && mkdir -p run");
    assert_int_equal(block_close(journals_must_open(), &(struct err){0}), 0);
    shell("qemu-img create -q -f qcow2 -o cluster_size=%d top.qcow2 %d", CLUSTER_BYTES, DISK_BYTES);
    assert_true(killed_child(writer, "top.qcow2", 0, false));
    shell("test $(ls run/journals | wc -l) = 1");
}

/* After a restart there is no journal, and the blocks are as given. */
static void must_become(unsigned char a, unsigned char b, unsigned char c)
{
    unsigned char buf[3 * CLUSTER_BYTES];
    assert_int_equal(journals_settle(), 0);
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
    image_must_be_clean("top.qcow2");
    struct node *node = chain_must_open("top.qcow2", "qcow2", true);
    assert_int_equal(node_read(node, buf, 0, sizeof(buf)), 0);
    node_unref(node);
    assert_int_equal(buf[0], a);
    assert_int_equal(buf[CLUSTER_BYTES], b);
    assert_int_equal(buf[2 * CLUSTER_BYTES], c);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(the_same_boot)
{
    leave_behind();
    must_become(2, 3, 4);
}

TEST(another_boot)
{
    leave_behind();
    shell("LC_ALL=C sed -i \"s/$(cat /proc/sys/kernel/random/boot_id)/"
          "00000000-1111-2222-3333-444444444444/\" run/journals/*");
    shell_status("qemu-img check -q -f qcow2 -r leaks top.qcow2");
    must_become(1, 0, 0);
}

TEST(a_torn_record)
{
    leave_behind();
    unsigned char record[RECORD_BYTES] = {1};
    CLEANUP_FREE char *name = shell_output("printf %%s run/journals/*");
    uint64_t at = RECORDS_OFFSET;
    CLEANUP_CLOSE int fd = open(name, O_RDWR | O_CLOEXEC);
    for (; !bytes_are_zero(record, sizeof(record)); at += sizeof(record))
        assert_int_equal(file_read(fd, record, at, sizeof(record)), 0);
    assert_int_equal(file_write(fd, "torn", at - 2 * sizeof(record) + 8, 4), 0);
    must_become(2, 3, 0);
}

TEST(a_journal_cut_short)
{
    leave_behind();
    shell("rm run/journals/* && touch run/journals/1-2-3.journal");
    shell_status("qemu-img check -q -f qcow2 -r leaks top.qcow2");
    must_become(1, 0, 0);
}

TEST(an_image_that_was_closed)
{
    leave_behind();
    must_become(2, 3, 4);
    for (int freeze = 0; freeze < 2; freeze++) {
        struct node *node = journaled_open("top.qcow2");
        assert_non_null(node);
        assert_int_equal(node_write(node, "x", 100 * CLUSTER_BYTES, 1), 0);
        shell("test $(ls run/journals | wc -l) = 1");
        assert_int_equal(freeze ? node_freeze(node) : node_flush(node), 0);
        if (!freeze)
            node_unref(steal(node));
        assert_int_equal(shell_status("ls run/journals | grep ."), 1);
        if (node)
            node_unref(node);
    }
}
