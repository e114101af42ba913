/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer that does not finish its handshake is hung up on at the deadline, however it spends the
 * time; one that has finished it may idle as long as it likes. The deadline is shortened for the
 * test.
 * GET /limits: nbd_handshake_ms.
 */
#include "tests/lib/nbd-fixture.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_MS = 150 };

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void prepare(void)
{
    served.server->limits.handshake_ms = DEADLINE_MS;
}

static const struct nbd_setup setup = {.prepare = prepare,
                                       .disks = {{.name = "disk", .size_bytes = 1 << 20}}};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(silence_is_hung_up_on)
{
    static const struct {
        const char *said;
        size_t length;
    } beginnings[] = {{"", 0},
                      {"IHAVE", 5},
                      {"IHAVEOPT\0\0\0\7\0\0\0\12", 16},
                      {"IHAVEOPT\0\0\0\7\0\0\0\12\0\0\0\4di", 22},
                      {"IHAVEOPT\0\0\0\7\1\0\0\0somewhat", 24}};
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++) {
        uint64_t start_ms = now_ms();
        int fd = peer_greet(served.address, 3);
        send(fd, beginnings[i].said, beginnings[i].length, MSG_NOSIGNAL); /* or it is too late */
        peer_must_be_closed(fd);
        assert_true(now_ms() - start_ms >= DEADLINE_MS);
    }
    char greeting[18];
    int fd = peer_connect(served.address); /* not even the client flags */
    peer_receive(fd, greeting, sizeof(greeting));
    peer_must_be_closed(fd);
}

/* Sends a piece every 10 ms until the server hangs up. */
static void trickle(int fd, const void *piece, size_t length)
{
    uint64_t start_ms = now_ms();
    char replies[4096];
    while (send(fd, piece, length, MSG_NOSIGNAL) > 0) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        while (recv(fd, replies, sizeof(replies), MSG_DONTWAIT) > 0)
            ;
        assert_true(now_ms() - start_ms < PEER_WAIT_S * 1000);
    }
    close(fd);
}

TEST(trickling_gains_nothing)
{
    int fd = peer_greet(served.address, 3);
    send(fd, "IHAVEOPT\0\0\0\7\1\0\0\0", 16, MSG_NOSIGNAL); /* 16 MiB to come, byte by byte */
    trickle(fd, "x", 1);
    trickle(peer_greet(served.address, 3), "IHAVEOPT\0\0\0\3\0\0\0\0", 16); /* LIST for ever */
}

TEST(not_reading_gains_nothing)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(served.address, 3);
    for (int i = 0; i < 1000; i++)
        bytes_add_option(&bytes, OPT_LIST, NULL, 0);
    uint64_t start_ms = now_ms();
    while (send(fd, bytes.at, bytes.length, MSG_NOSIGNAL) > 0) /* until both directions are full */
        assert_true(now_ms() - start_ms < PEER_WAIT_S * 1000);
    bytes_clear(&bytes);
    close(fd);
}

/* peer_open(), but -1 if the deadline passes meanwhile. */
static int open_once(void)
{
    char replies[20 + 12 + 20 + 14 + 20]; /* INFO, INFO, ACK */
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(served.address, 3);
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL);
    send(fd, bytes.at, bytes.length, MSG_NOSIGNAL);
    bytes_clear(&bytes);
    if (recv(fd, replies, sizeof(replies), MSG_WAITALL) == sizeof(replies))
        return fd;
    close(fd);
    return -1;
}

TEST(transmission_has_no_deadline)
{
    char data[512];
    int fd = -1;
    while (fd < 0)
        fd = open_once();
    peer_must_be_closed(peer_greet(served.address, 3)); /* somebody else's deadline has passed */
    assert_int_equal(peer_request(fd, 0, CMD_READ, 0, 512, data), 0);
    close(fd);
}
