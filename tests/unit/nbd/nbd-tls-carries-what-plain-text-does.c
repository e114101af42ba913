/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and replies of any size and in any pieces go through TLS unchanged, with new keys on the
 * way; ends are announced; what had arrived when the server stops is answered. Contents are
 * compared with the image file.
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISK_SIZE = 40 << 20 };

static struct tls_client client;

/* To the transmission phase of the disk. */
static int open_disk(void)
{
    struct bytes bytes = {.length = 0};
    int fd = tls_peer_greet(served.address, &client);
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_receive_number(fd, 8), DISK_SIZE);
    peer_receive_number(fd, 2);
    return fd;
}

/* Writes random data, looks at the file, reads them back. */
static void exchange(int fd, struct random *random, uint64_t offset, uint32_t length)
{
    CLEANUP_FREE unsigned char *data = malloc(length), *again = malloc(length);
    random_fill(random, data, length);
    assert_int_equal(peer_request(fd, 0, CMD_WRITE, offset, length, data), 0);
    CLEANUP_CLOSE int file = open("disk.raw", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(file, again, length, (off_t)offset), length);
    assert_memory_equal(data, again, length);
    memset(again, 0, length);
    assert_int_equal(peer_request(fd, 0, CMD_READ, offset, length, again), 0);
    assert_memory_equal(data, again, length);
}

static void prepare(void)
{
    client = (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk"};
}

static const struct nbd_setup setup = {
    .tls = {.mode = NBD_TLS_REQUIRED, .psk_file = "pki/psk"},
    .prepare = prepare,
    .disks = {{.name = "disk", .driver = "probe", .size_bytes = DISK_SIZE}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(every_size_arrives)
{
    static const uint32_t sizes[] = {1,     511,    16383,  16384,         16385,
                                     65537, 262144, 262145, (2 << 20) + 7, 32 << 20};
    static const char *const rules[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK",
                                        "NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-PSK"};
    struct random random = random_seeded(1);
    for (size_t r = 0; r < 2; r++) {
        client.rules = rules[r];
        int fd = open_disk();
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
            exchange(fd, &random, random_below(&random, DISK_SIZE - sizes[i]), sizes[i]);
        if (r == 0)
            exchange(fd, &random, 12345, 32 << 20); /* the most that there can be */
        close(fd);
    }
}

TEST(records_and_requests_need_not_agree)
{
    struct bytes bytes = {.length = 0};
    char data[100], again[100];
    int fd = open_disk();
    memset(data, 7, sizeof(data));
    bytes_add_request(&bytes, 0, CMD_WRITE, 1, 50, 100);
    bytes_add(&bytes, data, 100);
    bytes_add_request(&bytes, 0, CMD_READ, 2, 50, 100);
    for (size_t i = 0; i < bytes.length; i++) {
        unsigned long long before = atomic_load(&tls_peer_sent_bytes);
        peer_send(fd, bytes.at + i, 1);
        while (atomic_load(&tls_peer_sent_bytes) == before) /* a record each */
            usleep(10);
    }
    bytes_clear(&bytes);
    peer_reply(fd, 1, 0, NULL, 0);
    peer_reply(fd, 2, 0, again, sizeof(again));
    assert_memory_equal(data, again, sizeof(data));
    for (unsigned i = 0; i < 1000; i++) /* and many in one */
        bytes_add_request(&bytes, 0, CMD_READ, i, i, 10);
    peer_send_bytes(fd, &bytes);
    bool seen[1000] = {false};
    for (unsigned i = 0; i < 1000; i++) { /* answered once each, in any order */
        uint32_t error;
        uint64_t cookie = peer_next_reply(fd, &error);
        assert_true(error == 0 && cookie < 1000 && !seen[cookie]);
        peer_receive(fd, again, 10);
        seen[cookie] = true;
    }
    close(fd);
}

TEST(keys_may_change_on_the_way)
{
    struct random random = random_seeded(2);
    client.rules = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK";
    client.key_updates = 6; /* the library takes 8 in a second */
    int fd = open_disk();
    for (unsigned i = 0; i < 8; i++)
        exchange(fd, &random, i << 20, 300000);
    close(fd);
}

TEST(endless_key_changes_end_the_connection)
{
    struct bytes bytes = {.length = 0};
    int other = open_disk();
    client.rules = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK";
    client.key_updates = 1000000;
    int fd = tls_peer_greet(served.address, &client);
    bytes_add_option(&bytes, 1000, NULL, 0);
    char replies[4096];
    while (send(fd, bytes.at, bytes.length, MSG_NOSIGNAL) > 0)
        while (recv(fd, replies, sizeof(replies), MSG_DONTWAIT) > 0)
            ;
    bytes_clear(&bytes);
    close(fd);
    assert_int_equal(peer_request(other, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(other);
}

static void wait_until_unused(void)
{
    for (int i = 0; i < PEER_WAIT_S * 1000 && served_clients("disk") > 0; i++)
        usleep(1000);
    assert_int_equal(served_clients("disk"), 0);
}

TEST(ends_are_announced)
{
    struct bytes bytes = {.length = 0};
    unsigned before = atomic_load(&tls_peer_farewells);
    int fd = open_disk();
    bytes_add_request(&bytes, 0, CMD_DISC, 0, 0, 0);
    peer_send_bytes(fd, &bytes);
    peer_must_be_closed(fd);
    assert_int_equal(atomic_load(&tls_peer_farewells), before + 1);
    fd = open_disk();
    bytes_add_request(&bytes, 0, CMD_WRITE, 1, 0, (32 << 20) + 1); /* more than it takes */
    peer_send_bytes(fd, &bytes);
    peer_reply(fd, 1, 22, NULL, 0);
    peer_must_be_closed(fd);
    assert_int_equal(atomic_load(&tls_peer_farewells), before + 2);
    close(open_disk()); /* the other way round */
    wait_until_unused();
}

static void *stop(void *arg)
{
    (void)arg;
    nbd_server_free(steal(served.server));
    return NULL;
}

TEST(what_arrived_is_answered_when_it_stops)
{
    enum { COUNT = 100 };
    struct bytes bytes = {.length = 0};
    char data[512];
    pthread_t stopper;
    unsigned held = atomic_load(&probe.held), farewells = atomic_load(&tls_peer_farewells);
    int fd = open_disk();
    unsigned long long sent = atomic_load(&tls_peer_sent_bytes);
    /* So that all has arrived while the first is under way. */
    atomic_store(&probe.holds_connection, true);
    atomic_store(&probe.hold, true);
    for (unsigned i = 0; i < COUNT; i++) {
        memset(data, (int)(i % 250) + 1, sizeof(data));
        bytes_add_request(&bytes, 0, CMD_WRITE, i, i * 512, 512);
        bytes_add(&bytes, data, 512);
    }
    bytes_add(&bytes, "\x25\x60", 2); /* and the beginning of one more */
    sent += bytes.length;
    peer_send(fd, bytes.at, 540);
    wait_until_at_least(&probe.held, held + 1);
    peer_send(fd, bytes.at + 540, bytes.length - 540);
    bytes_clear(&bytes);
    while (atomic_load(&tls_peer_sent_bytes) < sent)
        usleep(1000);
    pthread_create(&stopper, NULL, stop, NULL);
    int second;
    while ((second = peer_connect(served.address)) >= 0) /* until it listens no more */
        close(second);
    atomic_store(&probe.hold, false);
    atomic_store(&probe.holds_connection, false);
    for (unsigned i = 0; i < COUNT; i++)
        peer_reply(fd, i, 0, NULL, 0);
    peer_must_be_closed(fd);
    pthread_join(stopper, NULL);
    assert_int_equal(atomic_load(&tls_peer_farewells), farewells + 1);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(image_peek("disk.raw", i * 512 + 511, 1), i % 250 + 1);
}
