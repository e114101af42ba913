/* SPDX-License-Identifier: Apache-2.0
 *
 * Every command of the transmission phase: what it does, at the edges of the disk, with every flag,
 * and what a bad one gets. The connection outlives every request that can be told from the next
 * one. Error numbers are those of the protocol's "Error values"; content is compared with a flat
 * array.
 */
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISK_SIZE = 1000448, PAYLOAD_MAX = 32 << 20 };
enum { EPERM_ = 1, EIO_ = 5, ENOMEM_ = 12, EINVAL_ = 22, ENOSPC_ = 28 };
#define LARGE_SIZE (6ULL << 30)

static int disk, old, large;

static void connect_all(void)
{
    disk = peer_open(served.address, "disk");
    old = peer_open(served.address, "old");
    large = peer_open(served.address, "large");
}

static void disconnect_all(void)
{
    close(disk);
    close(old);
    close(large);
}

static const struct nbd_setup setup = {
    .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE},
              {.name = "large", .driver = "probe", .size_bytes = LARGE_SIZE},
              {.name = "old", .size_bytes = 65536, .read_only = true}},
    .ready = connect_all,
    .finish = disconnect_all};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(any_range_can_be_read_and_written)
{
    struct random random = random_seeded(17);
    CLEANUP(flat) struct flat *flat = flat_new(DISK_SIZE);
    CLEANUP_FREE unsigned char *buf = malloc(DISK_SIZE);
    for (int i = 0; i < 2000; i++) {
        uint64_t offset = random_below(&random, DISK_SIZE);
        uint64_t most = random_chance(&random, 90) ? 10000 : DISK_SIZE;
        uint64_t length = random_below(&random, most);
        if (length > DISK_SIZE - offset)
            length = DISK_SIZE - offset;
        bool fua = random_chance(&random, 20);
        uint64_t draw = random_below(&random, 10);
        if (draw < 4) {
            random_fill(&random, buf, length);
            memcpy(flat->bytes + offset, buf, length);
            assert_int_equal(peer_request(disk, fua, CMD_WRITE, offset, (uint32_t)length, buf), 0);
        } else if (draw < 6) {
            unsigned flags = fua | (random_chance(&random, 50) ? NO_HOLE : 0);
            memset(flat->bytes + offset, 0, length);
            assert_int_equal(
                peer_request(disk, flags, CMD_WRITE_ZEROES, offset, (uint32_t)length, NULL), 0);
        } else {
            assert_int_equal(peer_request(disk, fua, CMD_READ, offset, (uint32_t)length, buf), 0);
            assert_memory_equal(buf, flat->bytes + offset, length);
        }
    }
    assert_int_equal(peer_request(disk, 0, CMD_READ, 0, DISK_SIZE, buf), 0);
    assert_memory_equal(buf, flat->bytes, DISK_SIZE);
    flat_must_match_image(flat, "disk.raw", "raw");
}

TEST(ranges_past_the_end_are_refused)
{
    static const struct {
        uint64_t offset;
        uint32_t length;
    } bad[] = {{DISK_SIZE, 1},        {DISK_SIZE - 1, 2},  {0, DISK_SIZE + 1},
               {DISK_SIZE + 1, 0},    {UINT64_MAX, 1},     {UINT64_MAX, 0},
               {UINT64_MAX - 10, 11}, {1ULL << 63, 65536}, {DISK_SIZE + 4096, 65536}};
    CLEANUP_FREE char *data = calloc(1, DISK_SIZE + 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        uint64_t at = bad[i].offset;
        uint32_t length = bad[i].length;
        assert_int_equal(peer_request(disk, 0, CMD_READ, at, length, data), EINVAL_);
        assert_int_equal(peer_request(disk, 0, CMD_WRITE, at, length, data), ENOSPC_);
        assert_int_equal(peer_request(disk, 0, CMD_TRIM, at, length, NULL), EINVAL_);
        assert_int_equal(peer_request(disk, 0, CMD_WRITE_ZEROES, at, length, NULL), ENOSPC_);
    }
    assert_int_equal(peer_request(disk, 0, CMD_TRIM, 0, UINT32_MAX, NULL), EINVAL_);
    assert_int_equal(peer_request(disk, 0, CMD_READ, DISK_SIZE - 1, 1, data), 0);
}

TEST(requests_of_no_length_do_nothing)
{
    static const unsigned types[] = {CMD_READ, CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(peer_request(disk, 0, types[i], 0, 0, NULL), 0);
        assert_int_equal(peer_request(disk, FUA, types[i], DISK_SIZE, 0, NULL), 0);
    }
}

TEST(only_documented_flags_are_taken)
{
    static const unsigned types[] = {CMD_READ, CMD_WRITE, CMD_FLUSH,
                                     CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES};
    char data[512] = {0};
    for (size_t i = 0; i < 6; i++)
        for (unsigned bit = 0; bit < 16; bit++) {
            bool good = bit == 0 || ((bit == 1 || bit == 4) && types[i] == CMD_WRITE_ZEROES);
            uint32_t length = types[i] == CMD_FLUSH ? 0 : sizeof(data);
            assert_int_equal(peer_request(disk, 1U << bit, types[i], 0, length, data),
                             good ? 0 : EINVAL_);
        }
    assert_int_equal(peer_request(disk, 0, CMD_FLUSH, 1, 0, NULL), EINVAL_);
    assert_int_equal(peer_request(disk, 0, CMD_FLUSH, 0, 512, NULL), EINVAL_);
}

TEST(unknown_commands_are_invalid)
{
    static const unsigned types[] = {7, 8, 9, 100, 0xffff};
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        assert_int_equal(peer_request(disk, 0, types[i], 0, 512, NULL), EINVAL_);
    assert_int_equal(peer_request(disk, 0, CMD_FLUSH, 0, 0, NULL), 0);
}

TEST(read_only_exports_permit_reads_only)
{
    char data[4096], zeros[4096] = {0};
    memset(data, 'x', sizeof(data));
    assert_int_equal(peer_request(old, 0, CMD_WRITE, 0, 4096, data), EPERM_);
    assert_int_equal(peer_request(old, 0, CMD_TRIM, 0, 4096, NULL), EPERM_);
    assert_int_equal(peer_request(old, 0, CMD_WRITE_ZEROES, 0, 4096, NULL), EPERM_);
    assert_int_equal(peer_request(old, 0, CMD_WRITE, 65536, 4096, data), EPERM_);
    assert_int_equal(peer_request(old, 0, CMD_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(peer_request(old, 0, CMD_READ, 0, 4096, data), 0);
    assert_memory_equal(data, zeros, sizeof(data));
}

TEST(fua_and_flush_reach_the_disk)
{
    static const struct {
        unsigned flags, type;
    } durable[] = {{FUA, CMD_WRITE}, {FUA, CMD_TRIM}, {FUA, CMD_WRITE_ZEROES}, {0, CMD_FLUSH}};
    char data[512] = {1};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(peer_request(disk, 0, CMD_WRITE, 4096, 512, data), 0);
        unsigned before = atomic_load(&probe.flushes);
        uint32_t length = durable[i].type == CMD_FLUSH ? 0 : 512;
        assert_int_equal(peer_request(disk, durable[i].flags, durable[i].type, 0, length, data), 0);
        assert_true(atomic_load(&probe.flushes) > before);
    }
    unsigned before = atomic_load(&probe.flushes);
    assert_int_equal(peer_request(disk, 0, CMD_WRITE, 0, 512, data), 0);
    assert_int_equal(atomic_load(&probe.flushes), before);
}

TEST(zero_and_trim_take_lengths_of_32_bits)
{
    static const uint32_t lengths[] = {0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    char data[512], zeros[512] = {0};
    for (size_t i = 0; i < 4; i++) {
        memset(data, 'z', sizeof(data));
        assert_int_equal(peer_request(large, 0, CMD_WRITE, lengths[i], 512, data), 0);
        assert_int_equal(peer_request(large, 0, CMD_WRITE_ZEROES, 0, lengths[i], NULL), 0);
        assert_int_equal(peer_request(large, 0, CMD_TRIM, 0, lengths[i], NULL), 0);
        assert_int_equal(peer_request(large, 0, CMD_READ, lengths[i], 512, data), 0);
        assert_int_equal(data[0], 'z');
        assert_int_equal(data[511], 'z');
        assert_int_equal(peer_request(large, 0, CMD_WRITE_ZEROES, lengths[i] - 10ULL, 522, NULL),
                         0);
        assert_int_equal(peer_request(large, 0, CMD_READ, lengths[i], 512, data), 0);
        assert_memory_equal(data, zeros, 512);
    }
}

TEST(no_hole_keeps_the_space)
{
    assert_int_equal(peer_request(disk, 0, CMD_WRITE_ZEROES, 0, 4096, NULL), 0);
    assert_true(atomic_load(&probe.unmapped));
    assert_int_equal(peer_request(disk, NO_HOLE, CMD_WRITE_ZEROES, 0, 4096, NULL), 0);
    assert_false(atomic_load(&probe.unmapped));
}

TEST(fast_zero_is_fast_or_refused)
{
    char data[8192], zeros[4096] = {0};
    memset(data, 'x', sizeof(data));
    assert_int_equal(peer_request(disk, 0, CMD_WRITE, 0, sizeof(data), data), 0);
    atomic_store(&probe.zero_fast_error, -EOPNOTSUPP);
    assert_int_equal(peer_request(disk, FAST_ZERO, CMD_WRITE_ZEROES, 0, 4096, NULL), ERROR_NOTSUP);
    assert_int_equal(peer_request(disk, 0, CMD_READ, 0, 4096, data), 0);
    assert_int_equal(data[0], 'x'); /* nothing has happened */
    atomic_store(&probe.zero_fast_error, 0);
    assert_int_equal(peer_request(disk, FAST_ZERO, CMD_WRITE_ZEROES, 0, 4096, NULL), 0);
    assert_int_equal(peer_request(disk, 0, CMD_READ, 0, sizeof(data), data), 0);
    assert_memory_equal(data, zeros, 4096);
    assert_int_equal(data[4096], 'x');
    assert_int_equal(peer_request(old, FAST_ZERO, CMD_WRITE_ZEROES, 0, 4096, NULL), EPERM_);
}

TEST(cache_takes_any_range_of_the_disk)
{
    assert_int_equal(peer_request(disk, 0, CMD_CACHE, 0, DISK_SIZE, NULL), 0);
    assert_int_equal(peer_request(disk, 0, CMD_CACHE, 77, 1, NULL), 0);
    assert_int_equal(peer_request(old, 0, CMD_CACHE, 0, 65536, NULL), 0);
    assert_int_equal(peer_request(large, 0, CMD_CACHE, 0, UINT32_MAX, NULL), 0);
    assert_int_equal(peer_request(disk, 0, CMD_CACHE, 1, DISK_SIZE, NULL), EINVAL_);
}

TEST(disk_errors_become_the_protocols)
{
    static const struct {
        int disk;
        uint32_t expected;
    } errors[] = {{EIO, EIO_},       {ENOSPC, ENOSPC_}, {EDQUOT, ENOSPC_},
                  {EFBIG, ENOSPC_},  {EPERM, EPERM_},   {EROFS, EPERM_},
                  {ENOMEM, ENOMEM_}, {EINVAL, EINVAL_}, {ENXIO, EIO_}};
    char data[512] = {0};
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        atomic_store(&probe.error, -errors[i].disk);
        assert_int_equal(peer_request(disk, 0, CMD_READ, 0, 512, data), errors[i].expected);
        assert_int_equal(peer_request(disk, 0, CMD_WRITE, 0, 512, data), errors[i].expected);
        assert_int_equal(peer_request(disk, 0, CMD_TRIM, 0, 512, NULL), errors[i].expected);
        assert_int_equal(peer_request(disk, 0, CMD_WRITE_ZEROES, 0, 512, NULL), errors[i].expected);
        atomic_store(&probe.error, 0);
        assert_int_equal(peer_request(disk, 0, CMD_READ, 0, 512, data), 0);
    }
}

TEST(payloads_have_a_limit)
{
    CLEANUP_FREE char *data = malloc(PAYLOAD_MAX), *back = malloc(PAYLOAD_MAX);
    struct random random = random_seeded(3);
    random_fill(&random, data, PAYLOAD_MAX);
    assert_int_equal(peer_request(large, 0, CMD_WRITE, 1 << 20, PAYLOAD_MAX, data), 0);
    assert_int_equal(peer_request(large, 0, CMD_READ, 1 << 20, PAYLOAD_MAX, back), 0);
    assert_memory_equal(data, back, PAYLOAD_MAX);
    assert_int_equal(peer_request(large, 0, CMD_READ, 0, PAYLOAD_MAX + 1, NULL), EINVAL_);
    assert_int_equal(peer_request(large, 0, CMD_READ, 0, UINT32_MAX, NULL), EINVAL_);
    assert_int_equal(peer_request(large, 0, CMD_READ, 0, 512, back), 0);

    struct bytes bytes = {.length = 0}; /* the payload cannot be trusted to come: refused, closed */
    bytes_add_request(&bytes, 0, CMD_WRITE, 99, 0, PAYLOAD_MAX + 1);
    bytes_add(&bytes, data, 100000);
    peer_send_bytes(large, &bytes);
    peer_reply(large, 99, EINVAL_, NULL, 0);
    peer_must_be_closed(large);
    large = -1;
    assert_int_equal(peer_request(disk, 0, CMD_READ, 0, 512, back), 0);
}

TEST(what_is_no_request_closes)
{
    struct bytes bytes = {.length = 0};
    char data[512];
    bytes_add_request(&bytes, 0, CMD_READ, 7, 0, 512);
    bytes_add(&bytes, "\x25\x60\x95\x14", 4);
    bytes_add(&bytes, data, 100);
    peer_send_bytes(disk, &bytes);
    peer_reply(disk, 7, 0, data, 512);
    peer_must_be_closed(disk);
    disk = -1;
    assert_int_equal(peer_request(old, 0, CMD_READ, 0, 512, data), 0);
}
