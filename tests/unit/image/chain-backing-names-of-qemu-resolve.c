/* SPDX-License-Identifier: Apache-2.0
 *
 * Backing names that QEMU writes and reads beside plain ones: "file:NAME" and "json:{...}" that
 * come down to one file. The content is QEMU's; what such an object says beyond that is refused by
 * its name. A name of no bytes is none.
 */
#include "tests/lib/testlib.h"

#include <stdio.h>
#include <string.h>

static void bases_make(void)
{
    shell("rm -rf * && truncate -s 1M base.raw && qemu-io -f raw -c 'write -P 7 0 1M' base.raw");
    shell("qemu-img create -q -f qcow2 base.qcow2 1M && "
          "qemu-io -f qcow2 -c 'write -P 8 4k 512k' base.qcow2");
    shell("cp base.raw 'a\"b\\c'; cp base.raw 'k\xc3\xa4se'");
}

/* `format` NULL: the header records none. */
static void overlay_make(const char *words, const char *format)
{
    shell("rm -f overlay words && qemu-img create -q -f qcow2 overlay 1M");
    if (format)
        image_extension_insert("overlay", 0xe2792aca, format, (uint32_t)strlen(format));
    for (size_t i = 0; i < strlen(words); i++)
        image_poke("overlay", 60000 + i, 1, (unsigned char)words[i]);
    image_poke("overlay", 8, 8, 60000);
    image_poke("overlay", 16, 4, strlen(words));
}

static void must_read_like_qemu(const char *words, const char *format)
{
    printf("%s\n", words);
    overlay_make(words, format);
    struct flat *truth = image_truth("overlay", "qcow2");
    struct node *node = chain_must_open("overlay", "qcow2", false);
    flat_must_match_node(truth, node, words);
    assert_true(!bytes_are_zero(truth->bytes, truth->size_bytes));
    assert_non_null(node->backing);
    node_must_close(&node);
    flat_free(truth);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(names_that_come_down_to_one_file_are_read)
{
    bases_make();
    CLEANUP_FREE char *base = scratch_path("base.raw");
    char absolute[4096];
    snprintf(absolute, sizeof(absolute), "file:%s", base);
    must_read_like_qemu("file:base.raw", "raw");
    must_read_like_qemu(absolute, "raw");
    must_read_like_qemu("file:base.qcow2", "qcow2");
    snprintf(absolute, sizeof(absolute),
             "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", base);
    must_read_like_qemu(absolute, NULL);
    must_read_like_qemu(
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"base.qcow2\"}}",
        NULL);
    must_read_like_qemu("json:{\"file.filename\":\"base.qcow2\"}", "qcow2");
    must_read_like_qemu("json: { \"file.filename\" :\t\"base.qcow2\", \"driver\":\"qcow2\" } ",
                        NULL);
    must_read_like_qemu("json:{\"file\":{\"filename\":\"a\\\"b\\\\c\"}}", "raw");
    must_read_like_qemu("json:{\"file\":{\"filename\":\"k\\u00e4se\"}}", "raw");
    /* The header's format goes first. */
    must_read_like_qemu("json:{\"driver\":\"qcow2\",\"file\":{\"filename\":\"base.qcow2\"}}",
                        "raw");
}

TEST(other_names_are_refused_by_what_is_wrong)
{
    static const struct {
        const char *words, *why;
    } rows[] = {
        {"json:", "object"},
        {"json:{", "string"},
        {"json:{}", "file.filename"},
        {"json:{\"file.filename\":\"\"}", "file.filename"},
        {"json:{\"file.filename\":\"base.raw", "end"},
        {"json:{\"file.filename\":\"base.raw\"", "end"},
        {"json:{\"file.filename\":\"base.raw\\", "escape"},
        {"json:{\"file.filename\":\"base.raw\\u12", "escape"},
        {"json:{\"file.filename\":\"\\ud800\"}", "escape"},
        {"json:{\"file.filename\":\"\\u0000\"}", "escape"},
        {"json:{\"file.filename\":\"base.raw\"} x", "follows"},
        {"json:{\"file.filename\":\"x\",\"file\":{\"filename\":\"base.raw\"}}", "twice"},
        {"json:{\"file.filename\":\"base.raw\",\"offset\":512}", "'offset'"},
        {"json:{\"file\":{\"filename\":\"base.raw\",\"locking\":\"off\"}}", "'file.locking'"},
        {"json:{\"file\":{\"file\":{\"filename\":\"base.raw\"}}}", "'file.file'"},
        {"json:{\"file\":\"node\"}", "'file'"},
        {"json:{\"driver\":1,\"file.filename\":\"base.raw\"}", "string"},
        {"json:{\"file\":{\"driver\":\"host_device\",\"filename\":\"base.raw\"}}", "file.driver"},
        {"json:{\"driver\":\"nbd\",\"host\":\"localhost\"}", "'host'"},
        {"json:{\"file.filename\":\"/etc/passwd\"}", "beneath"},
        {"file:/etc/passwd", "beneath"},
        {"file:../../../etc/passwd", "leads out"},
        {"file:", "file:"},
    };
    bases_make();
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        printf("%s\n", rows[i].words);
        overlay_make(rows[i].words, "raw");
        struct err err;
        struct node *node = chain_open(scratch_images(), "overlay", "qcow2", true, NULL, &err);
        assert_null(node);
        if (!strstr(err.message, rows[i].why))
            fail_msg("'%s' says nothing of '%s'", err.message, rows[i].why);
    }
}

TEST(a_name_of_no_bytes_is_none)
{
    static const uint64_t offsets[] = {8, 512, 65536};
    for (size_t i = 0; i < 3; i++) {
        shell("rm -f overlay && qemu-img create -q -f qcow2 overlay 1M && "
              "qemu-io -f qcow2 -c 'write -P 5 64k 64k' overlay");
        image_poke("overlay", 8, 8, offsets[i]);
        struct flat *truth = image_truth("overlay", "qcow2");
        struct node *node = chain_must_open("overlay", "qcow2", false);
        assert_null(node->backing);
        flat_must_match_node(truth, node, "without a backing file");
        node_must_close(&node);
        image_must_be_clean("overlay");
        flat_free(truth);
    }
    image_poke("overlay", 8, 8, 65537);
    chain_must_refuse("overlay", "qcow2", true, ErrInvalidBlockFormat, WORDS("backing"));
}
