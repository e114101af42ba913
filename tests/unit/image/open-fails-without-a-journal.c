/* SPDX-License-Identifier: Apache-2.0
 *
 * An image whose journal cannot be made is not opened for writing: OpenFileFailed, naming it, and
 * nothing is left behind. Read-only it opens; raw images need no journal. A second block layer on
 * the same runtime directory is refused.
 */
#include "tests/lib/killable.h"

#include <string.h>
#include <sys/resource.h>

static int try_open(struct block *block, const char *image, const char *format, bool read_only,
                    struct err *err)
{
    const struct device_spec spec = {
        .name = "vda", .image = image, .format = format, .read_only = read_only};
    int ret = block_device_open(block, &spec, err);
    return ret ? ret : block_device_close(block, "vda", err);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(no_room_means_no_device)
{
    struct err err;
    shell("mkdir run && qemu-img create -q -f qcow2 top.qcow2 1M && truncate -s 1M flat.raw");
    struct block *block = journals_must_open();
    assert_int_equal(try_open(block, "top.qcow2", "qcow2", false, &err), 0);

    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, limit.rlim_max}), 0);
    assert_int_equal(try_open(block, "top.qcow2", "qcow2", false, &err), -1);
    assert_int_equal(err.code, ErrOpenFileFailed);
    assert_int_equal(err.errnum, EFBIG);
    assert_non_null(strstr(err.message, "top.qcow2"));
    assert_non_null(strstr(err.message, "journal"));
    assert_int_equal(try_open(block, "top.qcow2", "qcow2", true, &err), 0);
    assert_int_equal(try_open(block, "flat.raw", "raw", false, &err), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);

    assert_int_equal(shell_status("ls run/journals | grep ."), 1);
    assert_int_equal(try_open(block, "top.qcow2", "qcow2", false, &err), 0);
    assert_int_equal(block_close(block, &err), 0);
}

TEST(one_daemon_for_a_runtime_directory)
{
    struct err err;
    CLEANUP_FREE char *run = scratch_path("run");
    struct block *first = journals_must_open();
    struct block *second = block_open(scratch_dir(), &err);
    assert_non_null(second);
    assert_int_equal(block_journals_open(second, run, &err), -1);
    assert_int_equal(err.code, ErrOpenFileFailed);
    assert_non_null(strstr(err.message, "another daemon"));
    assert_int_equal(block_close(second, &err), 0);
    assert_int_equal(block_close(first, &err), 0);
    shell("test $(stat -c %%a run/journals) = 700");
}
