/* SPDX-License-Identifier: Apache-2.0
 *
 * An image that another program changed between the kill and the restart is left exactly as it is;
 * so is its journal. Every chain with this image, as top or below, is refused with a reason that
 * says what to do, and other images are served. Once somebody has said that he gives the journal
 * up, the image opens, and nothing is left of the journal.
 */
#include "tests/lib/killable.h"

#include <string.h>

enum { DISK_BYTES = 1 << 20, CLUSTER_BYTES = 4096 };

/* `arg`: the disk has been written and flushed before, so that its L2 table is there. */
static int writer(void *arg)
{
    unsigned char buf[4 * CLUSTER_BYTES];
    struct node *node = journaled_open("top.qcow2");
    memset(buf, 7, sizeof(buf));
    if (!node || node_write(node, buf, 64 * CLUSTER_BYTES, sizeof(buf)) != 0 ||
        (arg && node_flush(node) != 0) || node_write(node, buf, 0, sizeof(buf)) != 0)
        return 3;
    die();
    return 0;
}

static void must_be_refused(struct block *block, const char *image, bool read_only)
{
    struct err err;
    const struct device_spec spec = {
        .name = "vda", .image = image, .format = "qcow2", .read_only = read_only};
    assert_int_equal(block_device_open(block, &spec, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    for (const char *const *word =
             WORDS("top.qcow2", "/run/journals/", "\"discard_unflushed\": true");
         *word; word++)
        if (!strstr(err.message, *word))
            fail_msg("the refusal of %s does not mention '%s': %s", image, *word, err.message);
}

static void must_open(struct block *block, const char *image, bool discard)
{
    struct err err;
    const struct device_spec spec = {
        .name = "vdb", .image = image, .format = "qcow2", .discard_unflushed = discard};
    if (block_device_open(block, &spec, &err) != 0 || block_device_close(block, "vdb", &err) != 0)
        fail_msg("%s: %s", image, err.message);
}

static void change_is_refused(void *has_table, const char *change)
{
    shell("rm -rf *.qcow2 run && mkdir -p run");
    assert_int_equal(block_close(journals_must_open(), &(struct err){0}), 0);
    shell("qemu-img create -q -f qcow2 -o cluster_size=%d top.qcow2 %d", CLUSTER_BYTES, DISK_BYTES);
    shell("qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 above.qcow2");
    shell("qemu-img create -q -f qcow2 other.qcow2 1M");
    assert_true(killed_child(writer, has_table, 0, false));
    shell("%s", change);
    shell("sha256sum top.qcow2 >sums");

    struct block *block = journals_must_open();
    shell("sha256sum -c --quiet sums && sha256sum run/journals/* >>sums");
    must_be_refused(block, "top.qcow2", false);
    must_be_refused(block, "top.qcow2", true);
    must_be_refused(block, "above.qcow2", false);
    must_open(block, "other.qcow2", true);
    block_journals_finish(block);
    shell("sha256sum -c --quiet sums");
    must_open(block, "top.qcow2", true);
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
    must_open(block, "top.qcow2", false);
    assert_int_equal(block_close(block, &(struct err){0}), 0);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

#define CHANGE(name, has_table, change)                                                            \
    TEST(name)                                                                                     \
    {                                                                                              \
        change_is_refused(has_table ? "" : NULL, change);                                          \
    }
CHANGE(the_same_cluster_written, true, "qemu-io -f qcow2 -c 'write -P 9 4k 4k' top.qcow2")
/* It takes the host clusters that the killed writer's data are in. */
CHANGE(another_cluster_written, true, "qemu-io -f qcow2 -c 'write -P 9 512k 8k' top.qcow2")
CHANGE(another_table_made, false, "qemu-io -f qcow2 -c 'write -P 9 0 4k' top.qcow2")
CHANGE(a_snapshot_taken, true, "qemu-img snapshot -c one top.qcow2")
CHANGE(marked_dirty, true,
       "qemu-img amend -f qcow2 -o lazy_refcounts=on top.qcow2 && "
       "printf '\\1' | dd of=top.qcow2 bs=1 seek=79 conv=notrunc status=none")
CHANGE(cut, true, "truncate -s 40k top.qcow2")
