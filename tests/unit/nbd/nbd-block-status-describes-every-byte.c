/* SPDX-License-Identifier: Apache-2.0
 *
 * BLOCK_STATUS, with structured replies and with extended headers: what extents say, how they are
 * merged and bounded, and what is refused. The disk is a raw file whose holes the test has made.
 */
#include "tests/lib/nbd-fixture.h"

#include <string.h>
#include <unistd.h>

/* Piece N is data if N is even, a hole if it is odd. */
enum { PIECE = 64 << 10, PIECES = 4500, EXTENTS_MAX = 2048 };
#define DISK_SIZE ((uint64_t)PIECE * PIECES)

static struct chunk chunk;
static int fds[2];
static uint32_t ids[2][2];

static void request(bool extended, unsigned flags, uint64_t offset, uint64_t length)
{
    struct bytes bytes = {.length = 0};
    if (extended)
        bytes_add_extended_request(&bytes, flags, CMD_BLOCK_STATUS, 5, offset, length);
    else
        bytes_add_request(&bytes, flags, CMD_BLOCK_STATUS, 5, offset, (uint32_t)length);
    peer_send_bytes(fds[extended], &bytes);
}

/* Receives one context's chunk. Returns how many extents it has. */
static size_t receive_extents(bool extended, unsigned context, bool last)
{
    peer_chunk(fds[extended], extended, &chunk);
    assert_int_equal(chunk.type, extended ? CHUNK_STATUS_EXT : CHUNK_STATUS);
    assert_int_equal(chunk.flags, last);
    assert_int_equal(chunk.cookie, 5);
    assert_int_equal(chunk_number(&chunk, 0, 4), ids[extended][context]);
    size_t count = (chunk.length - (extended ? 8 : 4)) / (extended ? 16 : 8);
    assert_int_equal(chunk.length, extended ? 8 + 16 * count : 4 + 8 * count);
    if (extended)
        assert_int_equal(chunk_number(&chunk, 4, 4), count);
    return count;
}

static void expect_extent(bool extended, size_t i, uint64_t length, uint64_t status)
{
    unsigned width = extended ? 8 : 4;
    size_t at = (extended ? 8 : 4) + i * 2 * width;
    assert_int_equal(chunk_number(&chunk, at, width), length);
    assert_int_equal(chunk_number(&chunk, at + width, width), status);
}

static void prepare(void)
{
    shell("truncate -s %llu disk.raw; for i in $(seq 0 2 %d); do echo $i; done |"
          " python3 -c 'import os,sys; f=os.open(\"disk.raw\",os.O_WRONLY);"
          " [os.pwrite(f,b\"x\"*%d,int(n)*%d) for n in sys.stdin]'",
          (unsigned long long)DISK_SIZE, PIECES - 1, PIECE, PIECE);
}

static void connect_both(void)
{
    fds[0] = peer_open_with(served.address, "disk", OPT_STRUCTURED, ids[0]);
    fds[1] = peer_open_with(served.address, "disk", OPT_EXTENDED, ids[1]);
}

static void disconnect(void)
{
    close(fds[0]);
    close(fds[1]);
}

static const struct nbd_setup setup = {
    .prepare = prepare, .disks = {{.name = "disk"}}, .ready = connect_both, .finish = disconnect};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(extents_say_what_is_there)
{
    for (int extended = 0; extended < 2; extended++) {
        request(extended, 0, 100, 3 * PIECE);
        assert_int_equal(receive_extents(extended, 0, false), 4);
        expect_extent(extended, 0, PIECE - 100, 0);
        expect_extent(extended, 1, PIECE, 3); /* a hole that reads as zeros */
        expect_extent(extended, 2, PIECE, 0);
        expect_extent(extended, 3, 100, 3);
        assert_int_equal(receive_extents(extended, 1, true), 1); /* all is the top's: merged */
        expect_extent(extended, 0, 3 * PIECE, 1);
    }
}

TEST(one_is_one)
{
    for (int extended = 0; extended < 2; extended++) {
        request(extended, REQ_ONE, PIECE, 3 * PIECE);
        assert_int_equal(receive_extents(extended, 0, false), 1);
        expect_extent(extended, 0, PIECE, 3);
        assert_int_equal(receive_extents(extended, 1, true), 1);
        expect_extent(extended, 0, PIECE, 1);
        request(extended, REQ_ONE, PIECE, 10); /* never more than was asked for */
        assert_int_equal(receive_extents(extended, 0, false), 1);
        expect_extent(extended, 0, 10, 3);
        receive_extents(extended, 1, true);
    }
}

TEST(replies_are_bounded)
{
    for (int extended = 0; extended < 2; extended++) {
        request(extended, 0, 0, DISK_SIZE);
        assert_int_equal(receive_extents(extended, 0, false), EXTENTS_MAX);
        for (size_t i = 0; i < EXTENTS_MAX; i++)
            expect_extent(extended, i, PIECE, i % 2 ? 3 : 0);
        assert_int_equal(receive_extents(extended, 1, true), 1);
        expect_extent(extended, 0, (uint64_t)EXTENTS_MAX * PIECE, 1); /* both end there */
    }
}

TEST(what_there_is_not_is_refused)
{
    static const struct {
        unsigned flags;
        uint64_t offset, length;
    } bad[] = {{0, 0, 0},     {0, DISK_SIZE, 1},  {0, DISK_SIZE - 1, 2}, {0, UINT64_MAX, 2},
               {DF, 0, 4096}, {NO_HOLE, 0, 4096}, {FAST_ZERO, 0, 4096}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        for (int extended = 0; extended < 2; extended++) {
            request(extended, bad[i].flags, bad[i].offset, bad[i].length);
            peer_error_chunk(fds[extended], extended, 5, ERROR_INVAL);
        }
    request(true, 0, 0, UINT64_MAX);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
}

/* Asks with a payload: of `length` bytes in all, saying these ids. */
static void request_with_ids(uint64_t length, const uint32_t *asked, unsigned count,
                             unsigned too_many)
{
    struct bytes bytes = {.length = 0};
    uint64_t payload = 8 + 4 * count + too_many;
    bytes_add_extended_request(&bytes, PAYLOAD_LEN, CMD_BLOCK_STATUS, 5, 0, payload);
    bytes_add_number(&bytes, 8, length);
    for (unsigned i = 0; i < count; i++)
        bytes_add_number(&bytes, 4, asked[i]);
    bytes_add(&bytes, "xxx", too_many);
    peer_send_bytes(fds[1], &bytes);
}

TEST(a_payload_chooses_contexts)
{
    request_with_ids(2 * PIECE, &ids[1][0], 1, 0);
    assert_int_equal(receive_extents(true, 0, true), 2);
    request_with_ids(2 * PIECE, &ids[1][1], 1, 0);
    assert_int_equal(receive_extents(true, 1, true), 1);
    request_with_ids(2 * PIECE, ids[1], 2, 0);
    receive_extents(true, 0, false);
    receive_extents(true, 1, true);
    const uint32_t unknown[] = {ids[1][0], 77}, twice[] = {ids[1][0], ids[1][0]}, none = 0;
    request_with_ids(2 * PIECE, unknown, 2, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(2 * PIECE, twice, 2, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(2 * PIECE, &none, 1, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(2 * PIECE, ids[1], 0, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(2 * PIECE, ids[1], 1, 3);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(0, ids[1], 1, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
    request_with_ids(DISK_SIZE + 1, ids[1], 1, 0);
    peer_error_chunk(fds[1], true, 5, ERROR_INVAL);
}
