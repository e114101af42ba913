/* SPDX-License-Identifier: Apache-2.0
 *
 * A request that waits for its disk holds up neither its own connection nor others, however many
 * such requests there are; what one connection may have under way is limited; what is under way
 * when a client goes away, or the server stops, is finished first.
 * GET /limits: nbd_tasks, nbd_task_bytes.
 */
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The disk's first half is slow, the second one is in memory. */
enum { DISK_SIZE = 4 << 20, HALF = DISK_SIZE / 2, RUNNING_MAX = 16, THREADS_MAX = 64 };

/* Sends `count` reads that wait, of the cookies 0, 1, 2, ... */
static void send_slow_reads(int fd, unsigned count, uint32_t length)
{
    struct bytes bytes = {.length = 0};
    atomic_store(&probe.hold_reads, true);
    for (unsigned i = 0; i < count; i++)
        bytes_add_request(&bytes, 0, CMD_READ, i, 0, length);
    peer_send_bytes(fd, &bytes);
}

/* Receives as many replies, in any order, each once, of good reads of `length` bytes. */
static void receive_reads(int fd, unsigned count, uint32_t length)
{
    CLEANUP_FREE char *data = malloc(length);
    CLEANUP_FREE bool *seen = calloc(count, sizeof(bool));
    for (unsigned i = 0; i < count; i++) {
        uint32_t error;
        uint64_t cookie = peer_next_reply(fd, &error);
        assert_true(error == 0 && cookie < count && !seen[cookie]);
        peer_receive(fd, data, length);
        seen[cookie] = true;
    }
}

static void must_be_silent(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}

static void prepare(void)
{
    shell("head -c %d /dev/urandom >disk.raw && head -c %d /dev/urandom >other.raw", DISK_SIZE,
          DISK_SIZE);
    atomic_store(&probe.mapped_from, HALF);
}

static const struct nbd_setup setup = {
    .prepare = prepare,
    .disks = {{.name = "disk", .driver = "probe", .read_only = true},
              {.name = "other", .driver = "probe"}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(a_slow_read_does_not_hold_up_fast_ones)
{
    char data[4096];
    unsigned before = atomic_load(&probe.held_reads);
    int fd = peer_open(served.address, "disk");
    send_slow_reads(fd, 1, 512);
    wait_until_at_least(&probe.held_reads, before + 1);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(peer_request(fd, 0, CMD_READ, HALF + i * 4096, 4096, data), 0);
        assert_int_equal(image_peek("disk.raw", HALF + i * 4096, 1), (unsigned char)data[0]);
    }
    atomic_store(&probe.hold_reads, false);
    receive_reads(fd, 1, 512);
    close(fd);
}

TEST(a_slow_flush_does_not_hold_up_reads_and_writes)
{
    static const struct {
        unsigned flags, type;
        uint32_t length;
    } slow[] = {{0, CMD_FLUSH, 0}, {FUA, CMD_WRITE, 512}, {FUA, CMD_WRITE_ZEROES, 512}};
    char data[4096] = {1};
    for (size_t i = 0; i < 3; i++) {
        struct bytes bytes = {.length = 0};
        unsigned before = atomic_load(&probe.held_flushes);
        int fd = peer_open(served.address, "other");
        assert_int_equal(peer_request(fd, 0, CMD_WRITE, 4096, 4096, data), 0);
        atomic_store(&probe.hold_flushes, true);
        bytes_add_request(&bytes, slow[i].flags, slow[i].type, 0, 0, slow[i].length);
        bytes_add(&bytes, data, slow[i].type == CMD_WRITE ? slow[i].length : 0);
        peer_send_bytes(fd, &bytes);
        wait_until_at_least(&probe.held_flushes, before + 1);
        for (int n = 0; n < 100; n++) {
            assert_int_equal(peer_request(fd, 0, CMD_WRITE, HALF, 4096, data), 0);
            assert_int_equal(peer_request(fd, 0, CMD_READ, HALF, 4096, data), 0);
        }
        atomic_store(&probe.hold_flushes, false);
        receive_reads(fd, 1, 0);
        close(fd);
    }
}

TEST(a_slow_write_does_not_hold_up_reads)
{
    char data[512] = {2};
    struct bytes bytes = {.length = 0};
    unsigned before = atomic_load(&probe.held);
    int fd = peer_open(served.address, "other");
    atomic_store(&probe.hold, true);
    bytes_add_request(&bytes, 0, CMD_WRITE, 0, 0, 512);
    bytes_add(&bytes, data, 512);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held, before + 1);
    for (int n = 0; n < 100; n++)
        assert_int_equal(peer_request(fd, 0, CMD_READ, HALF, 512, data), 0);
    atomic_store(&probe.hold, false);
    receive_reads(fd, 1, 0);
    assert_int_equal(image_peek("other.raw", 0, 1), 2);
    close(fd);
}

TEST(every_connection_goes_on)
{
    enum { CLIENTS = 6, READS = 50 };
    char data[512];
    int fds[CLIENTS];
    unsigned before = atomic_load(&probe.held_reads), waiting = 0;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = peer_open(served.address, "disk");
        send_slow_reads(fds[i], READS, 512);
        waiting += waiting + RUNNING_MAX <= THREADS_MAX ? RUNNING_MAX : 1;
        wait_until_at_least(&probe.held_reads, before + waiting);
    }
    assert_int_equal(waiting, THREADS_MAX + CLIENTS - THREADS_MAX / RUNNING_MAX);
    int fd = peer_open(served.address, "other");
    for (int i = 0; i < 20; i++) /* these need a thread of the pool each */
        assert_int_equal(peer_request(fd, 0, CMD_WRITE_ZEROES, 0, 512, NULL), 0);
    assert_int_equal(atomic_load(&probe.held_reads), before + waiting);
    atomic_store(&probe.hold_reads, false);
    for (int i = 0; i < CLIENTS; i++) {
        receive_reads(fds[i], READS, 512);
        assert_int_equal(peer_request(fds[i], 0, CMD_READ, 0, 512, data), 0);
        close(fds[i]);
    }
    close(fd);
}

/* More than the limits is sent; only what they allow is taken up. */
static void limit_holds(unsigned allowed, uint32_t length)
{
    char data[512];
    struct bytes bytes = {.length = 0};
    unsigned before = atomic_load(&probe.held_reads);
    int fd = peer_open(served.address, "disk"), other = peer_open(served.address, "disk");
    send_slow_reads(fd, allowed + 1, length);
    bytes_add_request(&bytes, 0, CMD_READ, allowed + 1, HALF, length); /* would be fast */
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&probe.held_reads, before + allowed);
    assert_int_equal(peer_request(other, 0, CMD_READ, HALF, 512, data), 0);
    assert_int_equal(atomic_load(&probe.held_reads), before + allowed);
    must_be_silent(fd);
    atomic_store(&probe.hold_reads, false);
    receive_reads(fd, allowed + 2, length);
    close(fd);
    close(other);
}

TEST(requests_under_way_are_limited)
{
    served.server->limits.tasks = 5;
    limit_holds(5, 512);
}

TEST(bytes_under_way_are_limited)
{
    served.server->limits.task_bytes = 1000000;
    limit_holds(3, 300000);
    served.server->limits.task_bytes = 1000; /* one request of any size is always taken */
    limit_holds(1, 300000);
}

TEST(a_client_that_reads_nothing_costs_no_thread)
{
    struct bytes bytes = {.length = 0};
    char data[512];
    int deaf[8], fd = peer_open(served.address, "disk");
    for (int i = 0; i < 8; i++) {
        deaf[i] = peer_open(served.address, "disk");
        for (int n = 0; n < 32; n++)
            bytes_add_request(&bytes, 0, CMD_READ, 1, 0, HALF);
        peer_send_bytes(deaf[i], &bytes);
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(peer_request(fd, 0, CMD_READ, 0, 512, data), 0);
    for (int i = 0; i < 8; i++)
        close(deaf[i]);
    close(fd);
}

TEST(what_is_under_way_outlives_its_client)
{
    struct err err;
    unsigned before = atomic_load(&probe.held_reads);
    int gone = peer_open(served.address, "disk"), leaving = peer_open(served.address, "disk");
    send_slow_reads(gone, 20, 65536);
    wait_until_at_least(&probe.held_reads, before + RUNNING_MAX);
    close(gone);
    send_slow_reads(leaving, 3, 512);
    wait_until_at_least(&probe.held_reads, before + RUNNING_MAX + 3);
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, 0, CMD_DISC, 0, 0, 0);
    peer_send_bytes(leaving, &bytes);
    assert_int_equal(block_device_close(served.block, "disk", &err), -1); /* in use */
    assert_int_equal(err.code, ErrDeviceInUse);
    atomic_store(&probe.hold_reads, false);
    receive_reads(leaving, 3, 512); /* a clean end loses no reply */
    peer_must_be_closed(leaving);
    served_wait_until_left("disk");
    assert_int_equal(block_device_close(served.block, "disk", &err), 0);
}

static void *stop(void *arg)
{
    (void)arg;
    nbd_server_free(steal(served.server));
    return NULL;
}

TEST(what_is_under_way_is_answered_when_the_server_stops)
{
    pthread_t stopper;
    unsigned before = atomic_load(&probe.held_reads);
    int fd = peer_open(served.address, "disk"), second;
    send_slow_reads(fd, 40, 4096);
    wait_until_at_least(&probe.held_reads, before + RUNNING_MAX);
    pthread_create(&stopper, NULL, stop, NULL);
    while ((second = peer_connect(served.address)) >= 0) /* until it listens no more */
        close(second);
    atomic_store(&probe.hold_reads, false);
    receive_reads(fd, 40, 4096);
    peer_must_be_closed(fd);
    pthread_join(stopper, NULL);
}
