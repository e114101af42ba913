/* SPDX-License-Identifier: Apache-2.0
 *
 * LIST_META_CONTEXT and SET_META_CONTEXT: which queries find which contexts, what a selection is
 * good for, and what malformed options get. Layouts are those of the protocol's text.
 */
#include "block/frozen.h"
#include "tests/lib/nbd-fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fd;

/* Sends the option for the export and expects these contexts, in this order, then ACK. */
static void expect_contexts_of(const char *export, uint32_t option, const char *const *queries,
                               const char *const *expected)
{
    struct bytes bytes = {.length = 0};
    char context[64];
    bytes_add_meta(&bytes, option, export, queries);
    peer_send_bytes(fd, &bytes);
    for (; *expected; expected++) {
        size_t length = peer_option_reply(fd, option, REP_META_CONTEXT, context, sizeof(context));
        assert_int_equal(length, 4 + strlen(*expected));
        assert_memory_equal(context + 4, *expected, length - 4);
    }
    assert_int_equal(peer_option_reply(fd, option, REP_ACK, NULL, 0), 0);
}

static void expect_contexts(uint32_t option, const char *const *queries,
                            const char *const *expected)
{
    expect_contexts_of("disk", option, queries, expected);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__})
#define BASE      "base:allocation"
#define DEPTH     "qemu:allocation-depth"

static void connect_structured(void)
{
    fd = peer_greet(served.address, 3);
    peer_ask_option(fd, OPT_STRUCTURED, NULL, 0, REP_ACK);
}

static void disconnect(void)
{
    close(fd);
}

static const struct nbd_setup setup = {
    .disks = {{.name = "disk", .size_bytes = 1 << 20}, {.name = "other", .size_bytes = 1 << 20}},
    .ready = connect_structured,
    .finish = disconnect};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(queries_find_contexts)
{
    expect_contexts(OPT_LIST_META, LIST(NULL), LIST(BASE, DEPTH, NULL));
    expect_contexts(OPT_LIST_META, LIST("base:", NULL), LIST(BASE, NULL));
    expect_contexts(OPT_LIST_META, LIST("qemu:", NULL), LIST(DEPTH, NULL));
    expect_contexts(OPT_LIST_META, LIST(DEPTH, "qemu:", "base:", BASE, NULL),
                    LIST(BASE, DEPTH, NULL));
    static const char *const nothing[] = {
        "", "base", "base:alloc", "base:allocations", "x:", "qemu:dirty-bitmap:", "BASE:allocation",
        ":"};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(*nothing); i++) {
        expect_contexts(OPT_LIST_META, LIST(nothing[i], NULL), LIST(NULL));
        expect_contexts(OPT_SET_META, LIST(nothing[i], DEPTH, NULL), LIST(DEPTH, NULL));
    }
    expect_contexts(OPT_SET_META, LIST("base:", "qemu:", NULL),
                    LIST(NULL)); /* no wildcards in a selection */
    expect_contexts(OPT_SET_META, LIST(NULL), LIST(NULL));
    expect_contexts(OPT_SET_META, LIST(DEPTH, BASE, BASE, NULL), LIST(BASE, DEPTH, NULL));
}

static void expect_error(uint32_t option, const void *data, uint32_t length, uint32_t type)
{
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, option, data, length);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, option, type, NULL, 0);
}

TEST(malformed_ones_are_invalid)
{
    static const struct {
        const char *data;
        uint32_t length;
    } bad[] = {
        {"", 0},
        {"\0\0\0\4disk", 8},                              /* no count */
        {"\0\0\0\5disk\0\0\0\0", 12},                     /* a name longer than it is */
        {"\0\0\0\4disk\0\0\0\1", 12},                     /* one query, none there */
        {"\0\0\0\4disk\0\0\0\1\0\0\0\6base:", 21},        /* a query longer than it is */
        {"\0\0\0\4disk\0\0\0\0\0", 13},                   /* a byte too many */
        {"\0\0\0\4disk\377\377\377\377\0\0\0\0", 16},     /* 4 G queries */
        {"\0\0\0\4disk\0\0\0\1\377\377\377\377base", 20}, /* one of 4 GiB */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        expect_error(OPT_LIST_META, bad[i].data, bad[i].length, REP_ERR_INVALID);
        expect_error(OPT_SET_META, bad[i].data, bad[i].length, REP_ERR_INVALID);
    }
    expect_error(OPT_SET_META, "\0\0\0\4nope\0\0\0\0", 12, REP_ERR_UNKNOWN);
    CLEANUP_FREE char *data = calloc(1, 5000);
    memcpy(data, "\0\0\0\4disk\0\0\0\1\0\0\x10\1", 16); /* a query of 4097 bytes: no string */
    expect_error(OPT_LIST_META, data, 16 + 4097, REP_ERR_INVALID);
}

static void go(const char *name)
{
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0);
    peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0);
    peer_option_reply(fd, OPT_GO, REP_ACK, NULL, 0);
}

/* Asks for the status of the disk; expects as many chunks, or for 0 an error. */
static void expect_chunks(unsigned count)
{
    static struct chunk chunk;
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, 0, CMD_BLOCK_STATUS, 9, 0, 4096);
    peer_send_bytes(fd, &bytes);
    if (count == 0)
        peer_error_chunk(fd, false, 9, ERROR_INVAL);
    for (unsigned i = 0; i < count; i++) {
        peer_chunk(fd, false, &chunk);
        assert_int_equal(chunk.type, CHUNK_STATUS);
        assert_int_equal(chunk.flags, i + 1 == count);
    }
}

TEST(a_selection_is_good_for_its_export)
{
    expect_contexts(OPT_SET_META, LIST(BASE, DEPTH, NULL), LIST(BASE, DEPTH, NULL));
    expect_contexts(OPT_LIST_META, LIST(BASE, NULL), LIST(BASE, NULL)); /* changes nothing */
    go("disk");
    expect_chunks(2);
}

TEST(not_for_another_one)
{
    expect_contexts(OPT_SET_META, LIST(BASE, DEPTH, NULL), LIST(BASE, DEPTH, NULL));
    go("other");
    expect_chunks(0);
}

TEST(the_last_selection_counts)
{
    expect_contexts(OPT_SET_META, LIST(BASE, DEPTH, NULL), LIST(BASE, DEPTH, NULL));
    expect_contexts(OPT_SET_META, LIST(DEPTH, NULL), LIST(DEPTH, NULL));
    go("disk");
    expect_chunks(1);
}

TEST(even_one_that_failed)
{
    expect_contexts(OPT_SET_META, LIST(BASE, DEPTH, NULL), LIST(BASE, DEPTH, NULL));
    expect_error(OPT_SET_META, "\0\0\0\4nope\0\0\0\0", 12, REP_ERR_UNKNOWN);
    go("disk");
    expect_chunks(0);
}

/* ---- what has changed since an older group ---- */

#define SINCE "qemu:dirty-bitmap:"

/* Groups g1, g2 and g3 of "disk": g2 changed the first 64 KiB, g3 the second. "alien" is another
 * disk's that had this name and no image in common. */
static void groups_offer(void)
{
    static const char *const images[] = {"g1", "g2", "g3", "alien"};
    shell("qemu-img create -q -f qcow2 g1.qcow2 1M && qemu-img create -q -f qcow2 alien.qcow2 1M &&"
          " qemu-img create -q -f qcow2 -b g1.qcow2 -F qcow2 g2.qcow2 &&"
          " qemu-img create -q -f qcow2 -b g2.qcow2 -F qcow2 g3.qcow2 &&"
          " qemu-io -f qcow2 -c 'write -q 0 64k' g2.qcow2 &&"
          " qemu-io -f qcow2 -c 'write -q 64k 64k' g3.qcow2");
    for (size_t i = 0; i < sizeof(images) / sizeof(*images); i++) {
        char image[16], id[16];
        struct err err;
        snprintf(image, sizeof(image), "%s.qcow2", images[i]);
        snprintf(id, sizeof(id), "id-%s", images[i]);
        CLEANUP_FREE char *path = scratch_path(image);
        assert_int_equal(0, block_frozen_add(served.block, "disk", images[i], id, path, NULL,
                                             "qcow2", NULL, &err));
    }
}

/* Expects one chunk, for that context: so many bytes that changed, then the rest. */
static void expect_changed(uint64_t bytes_changed)
{
    static struct chunk chunk;
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, 0, CMD_BLOCK_STATUS, 9, 0, 1 << 20);
    peer_send_bytes(fd, &bytes);
    peer_only_chunk(fd, false, 9, CHUNK_STATUS, &chunk);
    assert_int_equal(chunk.length, 4 + 2 * 8);
    assert_int_equal(chunk_number(&chunk, 0, 4), 3);
    assert_int_equal(chunk_number(&chunk, 4, 4), bytes_changed);
    assert_int_equal(chunk_number(&chunk, 8, 4), 1);
    assert_int_equal(chunk_number(&chunk, 12, 4), (1 << 20) - bytes_changed);
    assert_int_equal(chunk_number(&chunk, 16, 4), 0);
}

TEST(frozen_members_have_one_for_each_older_group)
{
    groups_offer();
    expect_contexts_of("disk@g3", OPT_LIST_META, LIST(NULL),
                       LIST(BASE, DEPTH, SINCE "g2", SINCE "g1", NULL));
    expect_contexts_of("disk@id-g2", OPT_LIST_META, LIST(SINCE, NULL), LIST(SINCE "g1", NULL));
    expect_contexts_of("disk@g1", OPT_LIST_META, LIST("qemu:", NULL), LIST(DEPTH, NULL));
    expect_contexts_of("disk@g3", OPT_LIST_META, LIST(SINCE "id-g1", SINCE "g3", NULL),
                       LIST(SINCE "id-g1", NULL));
    expect_contexts_of("disk@g3", OPT_SET_META, LIST("qemu:", SINCE, SINCE "g3", SINCE "g", NULL),
                       LIST(NULL));
}

TEST(the_first_is_selected)
{
    groups_offer();
    expect_contexts_of("disk@g3", OPT_SET_META, LIST(SINCE "nope", SINCE "g1", SINCE "g2", NULL),
                       LIST(SINCE "g1", NULL));
    expect_contexts_of("disk@g3", OPT_LIST_META, LIST(SINCE "g2", NULL),
                       LIST(SINCE "g2", NULL)); /* changes nothing */
    go("disk@g3");
    expect_changed(128 << 10);
}

TEST(images_without_a_common_one_are_refused)
{
    groups_offer();
    expect_contexts_of("disk@alien", OPT_SET_META, LIST(SINCE "g1", NULL), LIST(SINCE "g1", NULL));
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, OPT_GO, "disk@alien", 0, NULL);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, OPT_GO, REP_ERR_UNKNOWN, NULL, 0);
    expect_contexts_of("disk@g2", OPT_SET_META, LIST(SINCE "id-g1", NULL),
                       LIST(SINCE "id-g1", NULL));
    go("disk@g2");
    expect_changed(64 << 10);
}

TEST(simple_replies_have_no_contexts)
{
    close(fd);
    fd = peer_greet(served.address, 3);
    expect_error(OPT_LIST_META, "\0\0\0\4disk\0\0\0\0", 12, REP_ERR_INVALID);
    expect_error(OPT_SET_META, "\0\0\0\4disk\0\0\0\0", 12, REP_ERR_INVALID);
    go("disk");
    assert_int_equal(peer_request(fd, 0, CMD_BLOCK_STATUS, 0, 4096, NULL), ERROR_INVAL);
}
