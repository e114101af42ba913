/* SPDX-License-Identifier: Apache-2.0
 *
 * What all connections together take beyond their own part is within the budget, whoever takes it
 * and for however long; and a client for which nothing is left is served all the same: its small
 * requests as ever, its large ones in pieces, with the same content, errors and replies.
 * GET /limits: nbd_memory_bytes.
 */
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20, DISK_SIZE = 16 * MIB, GREEDY = 6, LARGE = 4 * MIB };

static unsigned char *data, *back; /* of a large request */

static struct nbd_budget *budget(void)
{
    return &served.server->budget;
}

/* How much of the buffers, beyond each connection's own part, the kernel says is in memory. */
static size_t resident_bytes(void)
{
    enum { PAGE = 4096, PAGES = NBD_BUFFER_BYTES / PAGE };
    static unsigned char pages[PAGES];
    size_t resident = 0;
    LOCK_GUARD(&served.server->lock);
    for (struct nbd_connection *one = served.server->live; one; one = one->next) {
        void *const buffers[] = {one->in.bytes, one->out.bytes};
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(mincore(buffers[i], NBD_BUFFER_BYTES, pages), 0);
            for (size_t page = NBD_OWN_BYTES / PAGE; page < PAGES; page++)
                resident += pages[page] & 1 ? PAGE : 0;
        }
    }
    return resident;
}

static void budget_must_hold(void)
{
    size_t taken = atomic_load(&budget()->taken_bytes);
    assert_true(taken <= budget()->limit_bytes);
    assert_true(resident_bytes() <= budget()->limit_bytes);
}

/* Nothing is taken once its clients are gone. */
static void budget_must_be_given_back(void)
{
    served_wait_until_left("disk");
    for (int i = 0; i < PEER_WAIT_S * 1000 && atomic_load(&budget()->taken_bytes); i++)
        usleep(1000);
    assert_int_equal(atomic_load(&budget()->taken_bytes), 0);
}

/* Waits until the server has received all that was sent. */
static void wait_until_received(int fd)
{
    int queued = 1;
    for (int i = 0; i < PEER_WAIT_S * 1000 && queued; i++) {
        assert_int_equal(ioctl(fd, SIOCOUTQ, &queued), 0);
        usleep(queued ? 1000 : 0);
    }
    assert_int_equal(queued, 0);
}

static int greedy_writer(unsigned flags, uint64_t offset)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk");
    bytes_add_request(&bytes, flags, CMD_WRITE, 1, offset, LARGE);
    bytes_add(&bytes, data, LARGE / 2);
    peer_send_bytes(fd, &bytes);
    wait_until_received(fd);
    return fd;
}

static void must_be_served(void)
{
    int fd = peer_open(served.address, "disk");
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(peer_request(fd, 0, CMD_WRITE, i * 4096, 4096, data + i), 0);
        assert_int_equal(peer_request(fd, 0, CMD_READ, i * 4096, 4096, back), 0);
        assert_memory_equal(back, data + i, 4096);
    }
    for (unsigned flags = 0; flags <= FUA; flags++) {
        assert_int_equal(peer_request(fd, flags, CMD_WRITE, 5000, LARGE, data), 0);
        assert_int_equal(peer_request(fd, 0, CMD_READ, 5000, LARGE, back), 0);
        assert_memory_equal(back, data, LARGE);
        memset(data, (int)flags + 7, 100);
    }
    close(fd);
}

static void prepare(void)
{
    struct random random = random_seeded(1);
    data = malloc(LARGE);
    back = malloc(LARGE);
    random_fill(&random, data, LARGE);
}

static void forget(void)
{
    free(data);
    free(back);
}

static const struct nbd_setup setup = {
    .prepare = prepare,
    .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE},
              {.name = "fixed", .driver = "probe", .size_bytes = DISK_SIZE, .read_only = true}},
    .finish = forget};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(clients_that_send_half)
{
    int fds[GREEDY];
    budget()->limit_bytes = 2 * LARGE; /* for two of them */
    for (unsigned i = 0; i < GREEDY; i++) {
        fds[i] = greedy_writer(i % 2 ? FUA : 0, 2 * LARGE);
        budget_must_hold();
    }
    assert_true(atomic_load(&budget()->taken_bytes) > LARGE);
    must_be_served();
    budget_must_hold();
    for (unsigned i = 0; i < GREEDY; i++) { /* nor is any of them lost */
        peer_send(fds[i], data + LARGE / 2, LARGE / 2);
        peer_reply(fds[i], 1, 0, NULL, 0);
        budget_must_hold();
        close(fds[i]);
    }
    budget_must_be_given_back();
}

TEST(clients_that_do_not_read)
{
    int fds[GREEDY];
    budget()->limit_bytes = 2 * LARGE;
    for (unsigned i = 0; i < GREEDY; i++) {
        struct bytes bytes = {.length = 0};
        char sample;
        fds[i] = peer_open(served.address, "disk");
        for (unsigned n = 0; n < 4; n++)
            bytes_add_request(&bytes, 0, CMD_READ, 1, 0, LARGE);
        peer_send_bytes(fds[i], &bytes);
        assert_int_equal(recv(fds[i], &sample, 1, MSG_PEEK), 1);
        budget_must_hold();
    }
    must_be_served();
    budget_must_hold();
    for (unsigned i = 0; i < GREEDY; i++)
        close(fds[i]);
    budget_must_be_given_back();
}

TEST(requests_in_the_pool)
{
    enum { LENGTH = 200000, READS = 20 };
    struct bytes bytes = {.length = 0};
    budget()->limit_bytes = MIB;
    atomic_store(&probe.hold_reads, true);
    unsigned before = atomic_load(&probe.held_reads);
    unsigned allowed = (unsigned)((NBD_OWN_BYTES + MIB) / LENGTH);
    int fd = peer_open(served.address, "disk"), other = peer_open(served.address, "disk");
    for (unsigned i = 0; i < READS; i++)
        bytes_add_request(&bytes, 0, CMD_READ, i, 0, LENGTH);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held_reads, before + allowed);
    budget_must_hold();
    bytes_add_request(&bytes, 0, CMD_READ, 1, 0, 512); /* has to wait for the disk, not for them */
    peer_send_bytes(other, &bytes);
    wait_until_at_least(&probe.held_reads, before + allowed + 1);
    assert_int_equal(atomic_load(&probe.held_reads), before + allowed + 1);
    budget_must_hold();
    atomic_store(&probe.hold_reads, false);
    peer_reply(other, 1, 0, back, 512);
    for (unsigned i = 0; i < READS; i++) {
        uint32_t error;
        assert_true(peer_next_reply(fd, &error) < READS && error == 0);
        peer_receive(fd, back, LENGTH);
    }
    close(fd);
    close(other);
    budget_must_be_given_back();
}

/* ---- what requests in pieces do ---- */

static void send_in_random_pieces(struct random *random, int fd, struct bytes *bytes)
{
    for (size_t sent = 0; sent < bytes->length;) {
        size_t piece = random_between(random, 1, 700000);
        if (piece > bytes->length - sent)
            piece = bytes->length - sent;
        peer_send(fd, bytes->at + sent, piece);
        sent += piece;
    }
    bytes_clear(bytes);
}

TEST(content_is_that_of_a_flat_array)
{
    struct random random = random_seeded(2);
    CLEANUP(flat) struct flat *flat = flat_new(DISK_SIZE);
    for (unsigned round = 0; round < 20; round++) {
        struct bytes bytes = {.length = 0};
        uint32_t lengths[5];
        uint64_t offset = random_below(&random, MIB);
        budget()->limit_bytes = round % 2 ? 0 : 2 * MIB;
        int fd = peer_open(served.address, "disk");
        for (unsigned i = 0; i < 5; i++) { /* behind each other, so that their order is free */
            lengths[i] = (uint32_t)random_between(&random, 1, i % 2 ? 5000 : 3 * MIB);
            random_fill(&random, flat->bytes + offset, lengths[i]);
            bytes_add_request(&bytes, random_chance(&random, 20) ? FUA : 0, CMD_WRITE, i, offset,
                              lengths[i]);
            bytes_add(&bytes, flat->bytes + offset, lengths[i]);
            offset += lengths[i];
        }
        send_in_random_pieces(&random, fd, &bytes);
        for (unsigned i = 0; i < 5; i++) {
            uint32_t error;
            assert_true(peer_next_reply(fd, &error) < 5 && error == 0);
        }
        while (offset > 0) {
            uint32_t length = (uint32_t)random_between(&random, 1, LARGE);
            length = length < offset ? length : (uint32_t)offset;
            offset -= length;
            assert_int_equal(peer_request(fd, 0, CMD_READ, offset, length, back), 0);
            assert_memory_equal(back, flat->bytes + offset, length);
        }
        close(fd);
    }
    budget_must_be_given_back();
}

/* Receives a read's chunks: data up to `good`, then `error` there, if it is not all. */
static void receive_chunks(int fd, bool extended, uint64_t offset, uint64_t length, uint64_t good)
{
    CLEANUP_FREE struct chunk *chunk = malloc(sizeof(*chunk));
    uint64_t done = 0;
    do {
        peer_chunk(fd, extended, chunk);
        assert_int_equal(chunk->cookie, 1);
        assert_int_equal(chunk_number(chunk, chunk->type == CHUNK_DATA ? 0 : 6, 8), offset + done);
        if (chunk->type == CHUNK_ERROR_OFFSET)
            break;
        assert_int_equal(chunk->type, CHUNK_DATA);
        assert_memory_equal(chunk->payload + 8, data + done, chunk->length - 8);
        done += chunk->length - 8;
    } while (!chunk->flags);
    assert_true(chunk->flags == 1 && done == good);
    assert_true((chunk->type == CHUNK_ERROR_OFFSET) == (good < length));
}

static void add_request(struct bytes *bytes, bool extended, unsigned flags, unsigned type,
                        uint64_t offset, uint32_t length)
{
    if (extended)
        bytes_add_extended_request(bytes, flags, type, 1, offset, length);
    else
        bytes_add_request(bytes, flags, type, 1, offset, length);
}

TEST(reads_are_chunks)
{
    uint32_t ids[2];
    int writer = peer_open(served.address, "disk");
    assert_int_equal(peer_request(writer, 0, CMD_WRITE, 512, LARGE, data), 0);
    close(writer);
    budget_must_be_given_back();
    budget()->limit_bytes = 0;
    for (unsigned extended = 0; extended < 2; extended++) {
        struct bytes bytes = {.length = 0};
        int fd =
            peer_open_with(served.address, "disk", extended ? OPT_EXTENDED : OPT_STRUCTURED, ids);
        add_request(&bytes, extended, 0, CMD_READ, 512, LARGE - 5);
        peer_send_bytes(fd, &bytes);
        receive_chunks(fd, extended, 512, LARGE - 5, LARGE - 5);
        add_request(&bytes, extended, DF, CMD_READ, 512, LARGE); /* which forbids chunks */
        peer_send_bytes(fd, &bytes);
        peer_error_chunk(fd, extended, 1, ERROR_OVERFLOW);
        add_request(&bytes, extended, DF, CMD_READ, 512, 65536); /* may not be refused */
        peer_send_bytes(fd, &bytes);
        receive_chunks(fd, extended, 512, 65536, 65536);
        atomic_store(&probe.broken_from, 512 + MIB);
        add_request(&bytes, extended, 0, CMD_READ, 512, LARGE);
        peer_send_bytes(fd, &bytes);
        receive_chunks(fd, extended, 512, LARGE, MIB);
        atomic_store(&probe.broken_from, UINT64_MAX);
        close(fd);
    }
}

TEST(errors_of_simple_reads)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk");
    budget()->limit_bytes = 0;
    atomic_store(&probe.broken_from, 0);
    assert_int_equal(peer_request(fd, 0, CMD_READ, 0, LARGE, back), ERROR_IO);
    atomic_store(&probe.broken_from, MIB);
    bytes_add_request(&bytes, 0, CMD_READ, 1, 0, LARGE);
    peer_send_bytes(fd, &bytes);
    peer_reply(fd, 1, 0, back, MIB); /* a success was told: only its end can be */
    peer_must_be_closed(fd);
}

TEST(errors_of_writes)
{
    struct bytes bytes = {.length = 0};
    uint32_t ids[2];
    budget()->limit_bytes = 0;
    int fd = peer_open(served.address, "fixed");
    assert_int_equal(peer_request(fd, 0, CMD_WRITE, 0, LARGE, data), ERROR_PERM);
    close(fd);
    fd = peer_open(served.address, "disk");
    assert_int_equal(peer_request(fd, 0, CMD_WRITE, DISK_SIZE - MIB, LARGE, data), ERROR_NOSPC);
    atomic_store(&probe.error, -ENOSPC);
    assert_int_equal(peer_request(fd, 0, CMD_WRITE, 0, LARGE, data), ERROR_NOSPC);
    atomic_store(&probe.error, 0);
    assert_int_equal(peer_request(fd, 0, CMD_WRITE, 0, LARGE, data), 0);
    close(fd);
    fd = peer_open_with(served.address, "disk", OPT_EXTENDED, ids);
    for (unsigned type = CMD_READ; type <= CMD_BLOCK_STATUS; type++) {
        if (type == CMD_DISC)
            continue;
        add_request(&bytes, true, PAYLOAD_LEN, type, 0, LARGE);
        bytes_add(&bytes, data, LARGE);
        peer_send_bytes(fd, &bytes);
        if (type == CMD_WRITE)
            peer_only_chunk(fd, true, 1, CHUNK_NONE, &(struct chunk){.flags = 0});
        else
            peer_error_chunk(fd, true, 1, ERROR_INVAL);
    }
    close(fd);
}

/* What the pool has of the connection is answered before a large request is taken up. */
TEST(what_is_in_the_pool_is_answered_first)
{
    struct bytes bytes = {.length = 0};
    unsigned before = atomic_load(&probe.held_reads);
    int fd = peer_open(served.address, "disk");
    budget()->limit_bytes = 0;
    atomic_store(&probe.hold_reads, true);
    bytes_add_request(&bytes, 0, CMD_READ, 1, 0, 512);
    bytes_add_request(&bytes, 0, CMD_WRITE, 2, 0, LARGE);
    bytes_add(&bytes, data, 1000);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held_reads, before + 1);
    atomic_store(&probe.hold_reads, false);
    peer_reply(fd, 1, 0, back, 512);
    peer_send(fd, data + 1000, LARGE - 1000);
    peer_reply(fd, 2, 0, NULL, 0);
    close(fd);
}

TEST(the_server_stops)
{
    budget()->limit_bytes = 0;
    served.server->limits.stop_ms = 3600000; /* must not be needed */
    int fd = greedy_writer(0, 0);
    nbd_server_free(steal(served.server));
    peer_must_be_closed(fd);
}
