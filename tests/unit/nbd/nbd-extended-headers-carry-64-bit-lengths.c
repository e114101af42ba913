/* SPDX-License-Identifier: Apache-2.0
 *
 * Extended headers: how they are negotiated, what requests and replies look like then, and how a
 * payload that no command takes is got over. Layouts and numbers are those of the protocol's
 * "Extended request" and "Extended reply chunk message".
 */
#include "tests/lib/nbd-fixture.h"

#include <string.h>
#include <unistd.h>

#define DISK_SIZE (12ULL << 30)
enum { PAYLOAD_MAX = 32 << 20 };

static struct chunk chunk;
static int disk;
static uint32_t ids[2];

static void request(unsigned flags, unsigned type, uint64_t offset, uint64_t length,
                    const void *payload)
{
    struct bytes bytes = {.length = 0};
    bytes_add_extended_request(&bytes, flags, type, 31, offset, length);
    bytes_add(&bytes, payload, payload ? length : 0);
    peer_send_bytes(disk, &bytes);
}

/* Every chunk names the request's offset, whatever it holds. */
static void expect(unsigned type, uint64_t offset)
{
    peer_only_chunk(disk, true, 31, type, &chunk);
    assert_int_equal(chunk.offset, offset);
}

static void option(int fd, uint32_t number, const char *data, uint32_t type)
{
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, number, data, (uint32_t)strlen(data));
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, number, type, NULL, 0);
}

static void connect_disk(void)
{
    disk = peer_open_with(served.address, "disk", OPT_EXTENDED, ids);
}

static void disconnect(void)
{
    close(disk);
}

static const struct nbd_setup setup = {.disks = {{.name = "disk", .size_bytes = DISK_SIZE}},
                                       .ready = connect_disk,
                                       .finish = disconnect};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(they_are_negotiated_once)
{
    unsigned char info[12];
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(served.address, 3);
    option(fd, OPT_EXTENDED, "x", REP_ERR_INVALID);
    option(fd, OPT_STRUCTURED, "", REP_ACK); /* no harm */
    option(fd, OPT_EXTENDED, "", REP_ACK);
    option(fd, OPT_EXTENDED, "", REP_ERR_INVALID);
    option(fd, OPT_STRUCTURED, "", REP_ERR_EXT_HEADER_REQD);
    bytes_add_go(&bytes, OPT_INFO, "disk", 0, NULL);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, OPT_INFO, REP_INFO, info, sizeof(info));
    assert_int_equal(info[11] & 0x80, 0x80); /* SEND_DF */
    peer_option_reply(fd, OPT_INFO, REP_INFO, NULL, 0);
    peer_option_reply(fd, OPT_INFO, REP_ACK, NULL, 0);
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    peer_must_be_closed(fd);
}

TEST(data_come_and_go)
{
    unsigned char data[5000], back[5000];
    struct random random = random_seeded(8);
    random_fill(&random, data, sizeof(data));
    request(PAYLOAD_LEN, CMD_WRITE, DISK_SIZE - 6000, sizeof(data), data);
    expect(CHUNK_NONE, DISK_SIZE - 6000);
    request(PAYLOAD_LEN | FUA, CMD_WRITE, 77, sizeof(data), data);
    expect(CHUNK_NONE, 77);
    request(0, CMD_READ, DISK_SIZE - 6000, sizeof(data), NULL);
    expect(CHUNK_DATA, DISK_SIZE - 6000);
    memcpy(back, chunk.payload + 8, sizeof(back));
    assert_memory_equal(back, data, sizeof(data));
    request(0, CMD_FLUSH, 0, 0, NULL);
    expect(CHUNK_NONE, 0);
}

TEST(lengths_have_64_bits)
{
    char data[512] = {1};
    request(PAYLOAD_LEN, CMD_WRITE, 11ULL << 30, sizeof(data), data);
    expect(CHUNK_NONE, 11ULL << 30);
    request(0, CMD_WRITE_ZEROES, 1, DISK_SIZE - 1, NULL);
    expect(CHUNK_NONE, 1);
    request(0, CMD_READ, 11ULL << 30, 512, NULL);
    expect(CHUNK_DATA, 11ULL << 30);
    assert_int_equal(chunk.payload[8], 0);
    request(0, CMD_TRIM, 0, DISK_SIZE, NULL);
    expect(CHUNK_NONE, 0);
    request(0, CMD_BLOCK_STATUS, 0, DISK_SIZE, NULL);
    peer_chunk(disk, true, &chunk);
    assert_int_equal(chunk.type, CHUNK_STATUS_EXT);
    assert_int_equal(chunk_number(&chunk, 8, 8), DISK_SIZE);
    peer_chunk(disk, true, &chunk);
    request(0, CMD_TRIM, 1, DISK_SIZE, NULL);
    peer_error_chunk(disk, true, 31, ERROR_INVAL);
    request(0, CMD_WRITE_ZEROES, 1, UINT64_MAX, NULL);
    peer_error_chunk(disk, true, 31, ERROR_NOSPC);
    request(0, CMD_READ, 0, 1ULL << 32, NULL);
    peer_error_chunk(disk, true, 31, ERROR_INVAL);
    request(DF, CMD_READ, 0, 1ULL << 32, NULL);
    peer_error_chunk(disk, true, 31, ERROR_OVERFLOW);
}

TEST(payloads_are_got_over)
{
    CLEANUP_FREE char *data = calloc(1, 100000);
    static const unsigned types[] = {CMD_READ, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES, 99};
    for (size_t i = 0; i < 5; i++) {
        request(PAYLOAD_LEN, types[i], 0, 100000, data);
        peer_error_chunk(disk, true, 31, ERROR_INVAL);
    }
    request(0, CMD_WRITE, 0, 4096, NULL); /* no flag, no payload */
    peer_error_chunk(disk, true, 31, ERROR_INVAL);
    request(0, CMD_READ, 0, 512, NULL);
    expect(CHUNK_DATA, 0);
}

TEST(too_large_a_payload_closes)
{
    static const struct {
        unsigned type;
        uint64_t length;
    } bad[] = {{CMD_WRITE, PAYLOAD_MAX + 1}, {CMD_READ, UINT64_MAX}, {99, 1ULL << 32}};
    for (size_t i = 0; i < 3; i++) {
        request(PAYLOAD_LEN, bad[i].type, 0, bad[i].length, NULL);
        peer_error_chunk(disk, true, 31, ERROR_INVAL);
        peer_must_be_closed(disk);
        disk = peer_open_with(served.address, "disk", OPT_EXTENDED, ids);
    }
}

TEST(compact_requests_are_none)
{
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, 0, CMD_READ, 1, 0, 512);
    bytes_add(&bytes, "\0\0\0\0", 4);
    peer_send_bytes(disk, &bytes);
    peer_must_be_closed(disk);
    disk = peer_open(served.address, "disk"); /* nor extended ones without negotiation */
    bytes_add_extended_request(&bytes, 0, CMD_READ, 1, 0, 512);
    peer_send_bytes(disk, &bytes);
    peer_must_be_closed(disk);
    disk = -1;
}
