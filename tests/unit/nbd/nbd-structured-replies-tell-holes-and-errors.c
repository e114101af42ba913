/* SPDX-License-Identifier: Apache-2.0
 *
 * Structured replies: how they are negotiated, and what the chunks of every command's reply hold.
 * Layouts and numbers are those of the protocol's "Structured reply chunk message".
 */
#include "tests/lib/nbd-fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DISK_SIZE = 1 << 20, PIECE = 64 << 10 };

static int disk;
static uint32_t ids[2];
static struct chunk chunk;
static unsigned char content[DISK_SIZE];

static void request(unsigned flags, unsigned type, uint64_t cookie, uint64_t offset,
                    uint32_t length)
{
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, flags, type, cookie, offset, length);
    bytes_add(&bytes, content, type == CMD_WRITE ? length : 0);
    peer_send_bytes(disk, &bytes);
}

/* Pieces 0, 2 and 3 are data, the others holes; so is 512 bytes of a piece of data zero. */
static void prepare(void)
{
    struct random random = random_seeded(44);
    random_fill(&random, content, DISK_SIZE);
    memset(content + PIECE, 0, PIECE);
    memset(content + 4 * PIECE, 0, DISK_SIZE - 4 * PIECE);
    FILE *file = fopen("disk.raw", "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content, PIECE, 1, file), 1);
    assert_int_equal(fseek(file, 2 * PIECE, SEEK_SET), 0);
    assert_int_equal(fwrite(content + 2 * PIECE, PIECE, 2, file), 2);
    assert_int_equal(fclose(file), 0);
}

static void connect_disk(void)
{
    disk = peer_open_with(served.address, "disk", OPT_STRUCTURED, ids);
}

static void disconnect(void)
{
    close(disk);
}

static const struct nbd_setup setup = {
    .prepare = prepare,
    .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE}},
    .ready = connect_disk,
    .finish = disconnect};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(it_is_negotiated_once)
{
    struct bytes bytes = {.length = 0};
    unsigned char info[12];
    int fd = peer_greet(served.address, 3);
    static const uint32_t types[] = {REP_ERR_INVALID, REP_ACK, REP_ERR_INVALID};
    for (int i = 0; i < 3; i++) {
        bytes_add_option(&bytes, OPT_STRUCTURED, "x", i == 0);
        peer_send_bytes(fd, &bytes);
        peer_option_reply(fd, OPT_STRUCTURED, types[i], NULL, 0);
    }
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, info, sizeof(info)), 12);
    assert_true(info[11] & 0x80); /* SEND_DF */
    close(fd);
}

TEST(a_read_is_data_at_an_offset)
{
    static const unsigned lengths[] = {1, 512, 5000, PIECE};
    for (unsigned i = 0; i < 4; i++) {
        request(0, CMD_READ, 70 + i, 3, lengths[i] - (lengths[i] == PIECE ? 3 : 0));
        peer_only_chunk(disk, false, 70 + i, CHUNK_DATA, &chunk);
        assert_int_equal(chunk_number(&chunk, 0, 8), 3);
        assert_memory_equal(chunk.payload + 8, content + 3, chunk.length - 8);
    }
    request(0, CMD_READ, 80, 3, 0); /* data chunks are never empty */
    peer_only_chunk(disk, false, 80, CHUNK_NONE, &chunk);
}

/* Receives the chunks of a read, each byte once. Returns how many bytes were holes. */
static uint64_t receive_read(uint64_t offset, uint64_t length, unsigned *chunks)
{
    CLEANUP_FREE unsigned char *got = malloc(length);
    CLEANUP_FREE bool *seen = calloc(length, sizeof(bool));
    uint64_t left = length, holes = 0;
    *chunks = 0;
    do {
        peer_chunk(disk, false, &chunk);
        ++*chunks;
        uint64_t at = chunk_number(&chunk, 0, 8) - offset, n = chunk.length - 8;
        if (chunk.type == CHUNK_HOLE) {
            n = chunk_number(&chunk, 8, 4);
            holes += n;
        }
        assert_true(at <= length && n > 0 && n <= left && n <= length - at);
        if (chunk.type == CHUNK_HOLE)
            memset(got + at, 0, n);
        else
            memcpy(got + at, chunk.payload + 8, n);
        for (uint64_t i = 0; i < n; i++) {
            assert_false(seen[at + i]);
            seen[at + i] = true;
        }
        left -= n;
    } while (!chunk.flags);
    assert_int_equal(left, 0);
    assert_memory_equal(got, content + offset, length);
    return holes;
}

TEST(large_reads_tell_holes)
{
    unsigned chunks;
    request(0, CMD_READ, 1, 0, DISK_SIZE - 100);
    assert_int_equal(receive_read(0, DISK_SIZE - 100, &chunks), DISK_SIZE - 3 * PIECE - 100);
    assert_int_equal(chunks, 4);
    request(0, CMD_READ, 2, PIECE + 1, 2 * PIECE);
    assert_int_equal(receive_read(PIECE + 1, 2 * PIECE, &chunks), PIECE - 1);
    assert_int_equal(chunks, 2);
    request(0, CMD_READ, 3, 5 * PIECE, 2 * PIECE);
    assert_int_equal(receive_read(5 * PIECE, 2 * PIECE, &chunks), 2 * PIECE);
    assert_int_equal(chunks, 1);
    request(DF, CMD_READ, 4, 0, DISK_SIZE - 100);
    assert_int_equal(receive_read(0, DISK_SIZE - 100, &chunks), 0);
    assert_int_equal(chunks, 1);
}

TEST(an_error_may_follow_data)
{
    atomic_store(&probe.broken_from, 3 * PIECE);
    request(0, CMD_READ, 5, 0, 4 * PIECE);
    peer_chunk(disk, false, &chunk);
    assert_true(chunk.type == CHUNK_DATA && chunk.flags == 0 && chunk.cookie == 5);
    assert_memory_equal(chunk.payload + 8, content, PIECE);
    peer_chunk(disk, false, &chunk);
    assert_true(chunk.type == CHUNK_HOLE && chunk.flags == 0 && chunk.cookie == 5);
    peer_only_chunk(disk, false, 5, CHUNK_ERROR_OFFSET, &chunk);
    assert_int_equal(chunk_number(&chunk, 0, 4), ERROR_IO);
    assert_int_equal(chunk_number(&chunk, 6, 8), 2 * PIECE);
    request(DF, CMD_READ, 6, 0, 4 * PIECE);
    peer_error_chunk(disk, false, 6, ERROR_IO);
    request(0, CMD_READ, 7, 3 * PIECE, 512);
    peer_error_chunk(disk, false, 7, ERROR_IO);
    request(0, CMD_READ, 8, 0, 512);
    peer_only_chunk(disk, false, 8, CHUNK_DATA, &chunk);
}

TEST(refusals_are_error_chunks)
{
    static const struct {
        unsigned flags, type;
        uint64_t offset;
        uint32_t length, error;
    } bad[] = {
        {0, CMD_READ, DISK_SIZE, 1, ERROR_INVAL},
        {0, CMD_READ, 0, (32 << 20) + 1, ERROR_INVAL},
        {DF, CMD_READ, 0, (32 << 20) + 1, ERROR_OVERFLOW},
        {REQ_ONE, CMD_READ, 0, 512, ERROR_INVAL},
        {PAYLOAD_LEN, CMD_READ, 0, 512, ERROR_INVAL},
        {DF, CMD_WRITE, 0, 512, ERROR_INVAL},
        {0, CMD_WRITE, DISK_SIZE, 512, ERROR_NOSPC},
        {0, 77, 0, 512, ERROR_INVAL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        request(bad[i].flags, bad[i].type, i, bad[i].offset, bad[i].length);
        peer_error_chunk(disk, false, i, bad[i].error);
    }
}

TEST(other_commands_have_no_data)
{
    static const unsigned types[] = {CMD_WRITE, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES};
    for (unsigned i = 0; i < 4; i++)
        for (unsigned fua = 0; fua < 2; fua++) {
            request(fua, types[i], i, 0, types[i] == CMD_FLUSH ? 0 : 512);
            peer_only_chunk(disk, false, i, CHUNK_NONE, &chunk);
            assert_int_equal(chunk.length, 0);
        }
}
