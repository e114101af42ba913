/* SPDX-License-Identifier: Apache-2.0
 *
 * Every option of the handshake, well and badly formed, gets the answer that the NBD protocol
 * prescribes, and after an error the client can go on. Byte layouts are those of the protocol's
 * text (see nbd-peer.h).
 */
#include "tests/lib/nbd-fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISK_SIZE = 1000448, FLAGS_WRITABLE = 0xd6d, FLAGS_READ_ONLY = 0x50f };

static struct bytes option_of(uint32_t option, const void *data, uint32_t length)
{
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, option, data, length);
    return bytes;
}

/* Sends one option and expects one error; the handshake goes on. */
static void expect_error(int fd, uint32_t option, const void *data, uint32_t length, uint32_t type)
{
    struct bytes bytes = option_of(option, data, length);
    char message[4096];
    peer_send_bytes(fd, &bytes);
    size_t got = peer_option_reply(fd, option, type, message, sizeof(message));
    assert_true(got > 0);
    assert_null(memchr(message, '\0', got));
}

static void expect_alive(int fd)
{
    struct bytes bytes = option_of(OPT_ABORT, NULL, 0);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_ABORT, REP_ACK, NULL, 0), 0);
    peer_must_be_closed(fd);
}

static const struct nbd_setup setup = {
    .disks = {{.name = "disk", .size_bytes = DISK_SIZE},
              {.name = "old", .size_bytes = 512, .read_only = true}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(list_names_every_export)
{
    static const char *const names[] = {"disk", "old"};
    int fd = peer_greet(served.address, 3);
    struct bytes bytes = option_of(OPT_LIST, NULL, 0);
    peer_send_bytes(fd, &bytes);
    for (size_t i = 0; i < 2; i++) {
        unsigned char data[100];
        size_t length = strlen(names[i]);
        assert_int_equal(peer_option_reply(fd, OPT_LIST, REP_SERVER, data, sizeof(data)),
                         4 + length);
        assert_int_equal(data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3], length);
        assert_memory_equal(data + 4, names[i], length);
    }
    assert_int_equal(peer_option_reply(fd, OPT_LIST, REP_ACK, NULL, 0), 0);
    expect_error(fd, OPT_LIST, "x", 1, REP_ERR_INVALID);
    expect_alive(fd);
}

/* Receives the informations of `name` and expects them to be exact. */
static void expect_info(int fd, uint32_t option, bool with_name, uint64_t size, uint16_t flags)
{
    static const unsigned char block_sizes[] = {0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0};
    unsigned char data[100];
    struct bytes expected = {.length = 0};
    bytes_add_number(&expected, 2, 0);
    bytes_add_number(&expected, 8, size);
    bytes_add_number(&expected, 2, flags);
    assert_int_equal(peer_option_reply(fd, option, REP_INFO, data, sizeof(data)), 12);
    assert_memory_equal(data, expected.at, 12);
    bytes_clear(&expected);
    if (with_name) {
        assert_int_equal(peer_option_reply(fd, option, REP_INFO, data, sizeof(data)), 6);
        assert_memory_equal(data, "\0\1disk", 6);
        size_t length = peer_option_reply(fd, option, REP_INFO, data, sizeof(data));
        assert_true(length > 2 && data[0] == 0 && data[1] == 2); /* a description, in some words */
    }
    assert_int_equal(peer_option_reply(fd, option, REP_INFO, data, sizeof(data)), 14);
    assert_memory_equal(data, block_sizes, 14);
    assert_int_equal(peer_option_reply(fd, option, REP_ACK, NULL, 0), 0);
}

TEST(info_and_go_describe_the_export)
{
    int fd = peer_greet(served.address, 3);
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, OPT_INFO, "disk", 4, (const uint16_t[]){3, 77, 1, 2});
    peer_send_bytes(fd, &bytes);
    expect_info(fd, OPT_INFO, true, DISK_SIZE, FLAGS_WRITABLE);
    assert_int_equal(served_clients("disk"), 0);
    bytes_add_go(&bytes, OPT_INFO, "old", 0, NULL);
    peer_send_bytes(fd, &bytes);
    expect_info(fd, OPT_INFO, false, 512, FLAGS_READ_ONLY);
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL);
    peer_send_bytes(fd, &bytes);
    expect_info(fd, OPT_GO, false, DISK_SIZE, FLAGS_WRITABLE);
    assert_int_equal(served_clients("disk"), 1);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
}

TEST(malformed_info_is_invalid)
{
    static const struct {
        const char *data;
        uint32_t length;
    } bad[] = {
        {"", 0},
        {"\0\0\0\4d", 5},
        {"\0\0\0\4disk", 8},              /* no count */
        {"\0\0\0\5disk\0\0", 10},         /* name longer than it is */
        {"\0\0\0\4disk\0\1", 10},         /* one request, none there */
        {"\0\0\0\4disk\0\1\0", 11},       /* half a request */
        {"\0\0\0\4disk\0\0\0\0", 12},     /* a request too many */
        {"\377\377\377\377disk\0\0", 10}, /* name of 4 GiB */
        {"\377\377\377\372disk\0\0", 10}, /* length + 6 wraps */
        {"\0\0\0\5di\0sk\0\0", 11},       /* NUL in the name */
    };
    int fd = peer_greet(served.address, 3);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        expect_error(fd, OPT_INFO, bad[i].data, bad[i].length, REP_ERR_INVALID);
        expect_error(fd, OPT_GO, bad[i].data, bad[i].length, REP_ERR_INVALID);
    }
    expect_alive(fd);
}

TEST(unknown_exports_are_refused)
{
    char name[4098] = {0};
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(served.address, 3);
    expect_error(fd, OPT_GO, "\0\0\0\4nope\0\0", 10, REP_ERR_UNKNOWN);
    expect_error(fd, OPT_GO, "\0\0\0\0\0\0", 6, REP_ERR_UNKNOWN); /* the empty name is nobody's */
    expect_error(fd, OPT_INFO, "\0\0\0\6no@one\0\0", 12, REP_ERR_UNKNOWN);
    memset(name, 'n', 4096);
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_in_range(peer_option_reply(fd, OPT_GO, REP_ERR_UNKNOWN, NULL, 0), 1, 4096);
    name[4096] = 'n'; /* longer than a string may be */
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_in_range(peer_option_reply(fd, OPT_GO, REP_ERR_INVALID, NULL, 0), 1, 4096);
    expect_alive(fd);
}

TEST(export_name_starts_transmission)
{
    char zeros[124], expected[124] = {0};
    for (uint32_t flags = 0; flags < 4; flags++) {
        int fd = peer_greet(served.address, flags);
        struct bytes bytes = option_of(OPT_EXPORT_NAME, "disk", 4);
        peer_send_bytes(fd, &bytes);
        assert_int_equal(peer_receive_number(fd, 8), DISK_SIZE);
        assert_int_equal(peer_receive_number(fd, 2), FLAGS_WRITABLE);
        if (!(flags & 2)) {
            peer_receive(fd, zeros, sizeof(zeros));
            assert_memory_equal(zeros, expected, sizeof(zeros));
        }
        assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
        close(fd);
    }
}

TEST(what_export_name_cannot_have_closes)
{
    char name[5000];
    memset(name, 'd', sizeof(name));
    memcpy(name, "disk", 5);
    static const uint32_t lengths[] = {0, 3, 5, 4096, 4097, 5000};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        int fd = peer_greet(served.address, 3);
        struct bytes bytes = option_of(OPT_EXPORT_NAME, name, lengths[i]);
        peer_send_bytes(fd, &bytes);
        peer_must_be_closed(fd);
    }
}

TEST(unknown_options_are_unsupported)
{
    static const uint32_t options[] = {0, 4, 12, 1000, 0xffffffff};
    int fd = peer_greet(served.address, 3);
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        expect_error(fd, options[i], NULL, 0, REP_ERR_UNSUP);
        expect_error(fd, options[i], "payload", 7, REP_ERR_UNSUP);
    }
    expect_alive(fd);
}

TEST(starttls_is_against_the_policy)
{
    int fd = peer_greet(served.address, 3);
    expect_error(fd, OPT_STARTTLS, NULL, 0, REP_ERR_POLICY);
    expect_error(fd, OPT_STARTTLS, "payload", 7, REP_ERR_POLICY);
    expect_alive(fd);
}

TEST(options_are_limited_in_number)
{
    served.server->limits.options = 20;
    int fd = peer_greet(served.address, 3);
    for (int i = 0; i < 20; i++)
        expect_error(fd, 1000, NULL, 0, REP_ERR_UNSUP);
    struct bytes bytes = option_of(1000, NULL, 0);
    peer_send_bytes(fd, &bytes);
    peer_must_be_closed(fd);
}

TEST(long_options_are_skipped_or_closed)
{
    CLEANUP_FREE char *data = calloc(1, 1 << 20);
    int fd = peer_greet(served.address, 3);
    expect_error(fd, 1000, data, 65536, REP_ERR_UNSUP);
    expect_error(fd, OPT_GO, data, 65537, REP_ERR_TOO_BIG);
    expect_error(fd, 1000, data, 1 << 20, REP_ERR_TOO_BIG);
    expect_alive(fd);
    for (uint32_t option = 1; option < 9; option++) {
        struct bytes bytes = {.length = 0};
        fd = peer_greet(served.address, 3);
        bytes_add(&bytes, "IHAVEOPT", 8);
        bytes_add_number(&bytes, 4, option);
        bytes_add_number(&bytes, 4, option % 2 ? (32 << 20) + 1 : 0xffffffff);
        peer_send_bytes(fd, &bytes);
        peer_must_be_closed(fd);
    }
}

TEST(other_magics_and_flags_close)
{
    for (unsigned bit = 2; bit < 32; bit++)
        peer_must_be_closed(peer_greet(served.address, 3U | 1U << bit));
    int fd = peer_greet(served.address, 3);
    peer_send(fd, "IHAVEOPS\0\0\0\3\0\0\0\0", 16);
    peer_must_be_closed(fd);
    fd = peer_greet(served.address, 2); /* not fixed newstyle: only EXPORT_NAME can be understood */
    peer_send(fd, "IHAVEOPT\0\0\0\3\0\0\0\0", 16);
    peer_must_be_closed(fd);
}

TEST(abort_works_with_data_or_without_a_reader)
{
    int fd = peer_greet(served.address, 3);
    struct bytes bytes = option_of(OPT_ABORT, "bye", 3);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_ABORT, REP_ACK, NULL, 0), 0);
    peer_must_be_closed(fd);
    fd = peer_greet(served.address, 3);
    bytes = option_of(OPT_ABORT, NULL, 0);
    peer_send_bytes(fd, &bytes);
    close(fd);
    expect_alive(peer_greet(served.address, 3));
}
