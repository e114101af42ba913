/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that stops waits for no long request: zeroing, discarding and caching end between two
 * pieces with ESHUTDOWN as soon as it stops; reads and writes, and whatever has not begun, once the
 * time is up that clients have to take their replies. The driver waits for the server's end in the
 * midst of the request, so that none is done before.
 */
#include "block/image/drivers.h"
#include "tests/lib/nbd-fixture.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define TIB (1ULL << 40)

enum { WHOLE = 32 << 20, TASKS = 100, ERROR_SHUTDOWN = 108, READS_OF_A_PIECE = 32 };

static struct {
    const atomic_bool *awaited; /* by every call but the first `free_calls` */
    atomic_uint calls, free_calls;
    atomic_ullong bytes;
    bool maps_count; /* as calls too */
} slow;

static void slow_call(uint64_t length)
{
    unsigned number = atomic_fetch_add(&slow.calls, 1);
    if (number < atomic_load(&slow.free_calls))
        return;
    while (!atomic_load(slow.awaited))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&slow.bytes, length);
}

static int slow_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    if (flags & ZERO_FAST)
        return driver_raw.zero(node, offset, length, flags);
    slow_call(length);
    return 0;
}

static int slow_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                      unsigned flags)
{
    (void)buf;
    return flags & WRITE_CACHED ? -EAGAIN : slow_zero(node, offset, length, 0);
}

static int slow_read(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    (void)buf;
    return slow_zero(node, offset, length, 0);
}

/* In extents of a MiB, of which only read() can tell what they are. */
static int slow_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    const uint64_t most = (1 << 20) - offset % (1 << 20);
    (void)node;
    if (flags & MAP_CACHED)
        return -EAGAIN;
    extent->kind = EXTENT_DATA;
    extent->host = EXTENT_NO_HOST;
    if (extent->length > most)
        extent->length = most;
    if (slow.maps_count)
        slow_call(0);
    return 0;
}

static void *stop(void *arg)
{
    nbd_server_free(arg);
    return NULL;
}

static void server_must_stop(void)
{
    struct timespec deadline;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop, steal(served.server)), 0);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PEER_WAIT_S;
    assert_int_equal(pthread_timedjoin_np(thread, NULL, &deadline), 0);
}

/* Of the only connection. */
static struct nbd_stop *connection_stop(void)
{
    LOCK_GUARD(&served.server->lock);
    assert_non_null(served.server->live);
    return &served.server->live->stop;
}

static void ends_when_the_server_stops(unsigned type, uint64_t length)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_open_with(served.address, "disk", OPT_EXTENDED, (uint32_t[2]){0});
    served.server->limits.stop_ms = 3600000; /* must not be needed */
    slow.awaited = &connection_stop()->begun;
    bytes_add_extended_request(&bytes, 0, type, 7, 0, length);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&slow.calls, 2);
    server_must_stop();
    peer_error_chunk(fd, true, 7, ERROR_SHUTDOWN);
    peer_must_be_closed(fd);
}

static void prepare(void)
{
    static struct driver driver;
    driver = driver_raw;
    driver.name = "slow";
    driver.map = slow_map;
    driver.read = slow_read;
    driver.zero = slow_zero;
    driver.write = slow_write;
    driver_register(&driver);
    served.server->limits.stop_ms = 100;
    atomic_store(&slow.calls, 0);
    atomic_store(&slow.free_calls, 1);
    atomic_store(&slow.bytes, 0);
    slow.maps_count = false;
}

static const struct nbd_setup setup = {
    .prepare = prepare, .disks = {{.name = "disk", .driver = "slow", .size_bytes = TIB}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(zeroing_ends)
{
    ends_when_the_server_stops(CMD_WRITE_ZEROES, TIB);
    assert_in_range(atomic_load(&slow.calls), 2, 16 + 2); /* of one of the NBD server's pieces */
}

TEST(discarding_ends)
{
    ends_when_the_server_stops(CMD_TRIM, TIB);
    assert_in_range(atomic_load(&slow.calls), 2, 16 + 2);
}

TEST(caching_ends)
{
    slow.maps_count = true;
    ends_when_the_server_stops(CMD_CACHE, TIB);
    assert_in_range(atomic_load(&slow.calls), 2, 8);
}

/* One large request is under way, so many of one MiB as the server takes, and more wait for
 * them. */
static void ends_when_time_is_up(unsigned type)
{
    static char data[WHOLE];
    struct bytes bytes = {.length = 0};
    int fd = peer_open(served.address, "disk");
    atomic_store(&slow.free_calls, 0);
    slow.awaited = &connection_stop()->cut_off;
    bytes_add_request(&bytes, 0, type, 0, 0, WHOLE);
    bytes_add(&bytes, data, type == CMD_WRITE ? WHOLE : 0);
    peer_send_bytes(fd, &bytes);
    wait_until_at_least(&slow.calls, 1);
    for (unsigned i = 1; i < TASKS; i++) {
        bytes_add_request(&bytes, 0, CMD_WRITE_ZEROES, i, 0, 512);
        peer_send_bytes(fd, &bytes);
    }
    wait_until_at_least(&slow.calls, NBD_TASKS_RUNNING);
    server_must_stop();
    assert_in_range(atomic_load(&slow.calls), NBD_TASKS_RUNNING,
                    NBD_TASKS_RUNNING + READS_OF_A_PIECE);
    assert_in_range(atomic_load(&slow.bytes), 1, WHOLE / 2);
    close(fd);
}

TEST(a_write_ends)
{
    ends_when_time_is_up(CMD_WRITE);
}

TEST(a_read_ends)
{
    ends_when_time_is_up(CMD_READ);
}
