/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal is kept until its image has taken it. While the image is away, a start does not touch
 * the journal; under whatever name the image comes back, whoever opens it, to write, to read or as
 * a backing file, reads what was acknowledged. Another file under the path, a copy too, is refused.
 * Journals of a daemon that named them by device number are found as well, also once that number is
 * another.
 */
#include "block/device/registry.h"
#include "tests/lib/killable.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { CLUSTER_BYTES = 4096, BLOCKS = 100, HEADER_VERSION_OFFSET = 8 };

static int writer(void *arg)
{
    unsigned char buf[CLUSTER_BYTES];
    struct node *node = journaled_open(arg);
    for (unsigned i = 0; node && i < BLOCKS; i++) {
        memset(buf, (int)i + 1, sizeof(buf));
        if (node_write(node, buf, i * sizeof(buf), sizeof(buf)) != 0)
            return 3;
    }
    die();
    return 0;
}

static int begin(void **state)
{
    scratch_begin(state);
    shell("mkdir run && qemu-img create -q -f qcow2 -o cluster_size=%d top.qcow2 1M",
          CLUSTER_BYTES);
    assert_int_equal(journals_settle(), 0);
    assert_true(killed_child(writer, "top.qcow2", 0, false));
    return 0;
}

static int attach(struct block *block, const char *image, bool read_only, struct err *err)
{
    const struct device_spec spec = {
        .name = "vda", .image = image, .format = "qcow2", .read_only = read_only};
    return block_device_open(block, &spec, err);
}

/* Attaches it and reads what was acknowledged. */
static void must_hold(struct block *block, const char *image, bool read_only)
{
    struct err err;
    unsigned char buf[CLUSTER_BYTES];
    if (attach(block, image, read_only, &err) != 0)
        fail_msg("%s: %s", image, err.message);
    struct node *top = device_top(registry_find_locked(block, "vda"));
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(node_read(top, buf, i * sizeof(buf), sizeof(buf)), 0);
        assert_int_equal(buf[0], i + 1);
        assert_int_equal(buf[sizeof(buf) - 1], i + 1);
    }
    node_unref(top);
    assert_int_equal(block_device_close(block, "vda", &err), 0);
    assert_int_equal(block_close(block, &err), 0);
    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
}

static void must_be_refused(struct block *block, const char *image, enum err_code code,
                            const char *word)
{
    struct err err;
    assert_int_equal(attach(block, image, false, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, word))
        fail_msg("'%s' is not in: %s", word, err.message);
    shell("test $(ls run/journals | wc -l) = 1");
}

static const struct fixture fixture = {.begin = begin, .end = scratch_end};

TEST(away_and_back)
{
    shell("mv top.qcow2 away");
    assert_int_equal(journals_settle(), 0);
    struct block *block = journals_must_open();
    block_journals_finish(block);
    must_be_refused(block, "top.qcow2", ErrOpenFileFailed, "No such file");
    shell("mv away top.qcow2");
    must_hold(block, "top.qcow2", false);
}

TEST(read_only_under_another_name)
{
    shell("mv top.qcow2 other.qcow2");
    struct block *block = journals_must_open();
    block_journals_finish(block);
    must_hold(block, "other.qcow2", true);
    image_must_be_clean("other.qcow2");
}

TEST(as_a_backing_file)
{
    shell("qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 above.qcow2");
    must_hold(journals_must_open(), "above.qcow2", false);
    image_must_be_clean("top.qcow2");
}

TEST(another_file_in_its_place)
{
    shell(
        "cp top.qcow2 copy && mv top.qcow2 away && mv copy top.qcow2 && sha256sum top.qcow2 >sums");
    assert_int_equal(journals_settle(), 0);
    struct block *block = journals_must_open();
    block_journals_finish(block);
    must_be_refused(block, "top.qcow2", ErrUnflushedData, "another file");
    shell("sha256sum --quiet -c sums && mv away top.qcow2");
    must_hold(block, "top.qcow2", false);
}

/* As an older daemon would have left it. */
static void name_it_by_device(unsigned version, unsigned device_major)
{
    struct statx stx;
    CLEANUP_FREE char *path = scratch_path("top.qcow2");
    assert_int_equal(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &stx), 0);
    if (!stx.stx_btime.tv_sec && device_major != stx.stx_dev_major)
        skip();
    shell("mv run/journals/* run/journals/%x.%x-%" PRIx64 "-%" PRIx64 ".journal", device_major,
          stx.stx_dev_minor, (uint64_t)stx.stx_ino,
          (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec);
    shell("printf '\\%o' | dd of=$(echo run/journals/*) bs=1 seek=%d conv=notrunc status=none",
          version, HEADER_VERSION_OFFSET);
}

TEST(named_by_device)
{
    struct stat st;
    CLEANUP_FREE char *path = scratch_path("top.qcow2");
    assert_int_equal(stat(path, &st), 0);
    name_it_by_device(1, major(st.st_dev));
    must_hold(journals_must_open(), "top.qcow2", false);
}

TEST(named_by_another_device)
{
    name_it_by_device(1, 4000);
    shell("cp top.qcow2 copy");
    struct block *block = journals_must_open();
    shell("mv top.qcow2 away && mv copy top.qcow2");
    must_be_refused(block, "top.qcow2", ErrUnflushedData, "another file");
    must_hold(block, "away", false);
}

TEST(a_journal_that_was_renamed)
{
    CLEANUP_FREE char *name = shell_output("ls run/journals");
    name[strcspn(name, "\n")] = 0;
    shell("mv run/journals/%s run/journals/1-2-3.journal", name);
    assert_int_equal(journals_settle(), 0);
    shell("mv run/journals/* run/journals/%s", name);
    must_hold(journals_must_open(), "top.qcow2", false);
}
