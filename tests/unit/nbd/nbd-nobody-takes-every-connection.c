/* SPDX-License-Identifier: Apache-2.0
 *
 * Idle TCP clients leave places for Unix sockets, those of one address leave some for others, and
 * those that do not finish their handshake make room for who does. No connection takes the
 * descriptors that others need. The limits are lowered for the test. GET /limits: nbd_connections,
 * nbd_tcp_connections, nbd_address_connections, nbd_user_connections, nbd_handshakes.
 */
#include "tests/lib/nbd-fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALL = 12, TCP = 8, PEER = 5, USER = 4, HANDSHAKES = 3 };

/* Connects from that address of loopback and expects the greeting. */
static int connect_from(const char *host)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port =
                                 htons((uint16_t)atoi(strrchr(served.second_address, ':') + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = PEER_WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    inet_pton(AF_INET, host, &from.sin_addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* A client that is idle: with a reply to a request it is surely done with the handshake. */
static int open_idle(const char *address)
{
    int fd = peer_open(address, "disk");
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    return fd;
}

static void greeted(int fd)
{
    char greeting[18];
    peer_receive(fd, greeting, sizeof(greeting));
    assert_memory_equal(greeting, "NBDMAGIC", 8);
}

static void prepare(void)
{
    struct nbd_limits *limits = &served.server->limits;
    limits->connections = ALL;
    limits->tcp_connections = TCP;
    limits->tcp_peer = PEER;
    limits->unix_peer = geteuid() == 0 ? USER : ALL;
    limits->handshakes = HANDSHAKES;
    limits->handshake_ms = limits->handshake_max_ms = 3600000; /* no place comes free by it */
}

static const struct nbd_setup setup = {.prepare = prepare,
                                       .disks = {{.name = "disk", .size_bytes = 1 << 20}},
                                       .second_address = "127.0.0.1:0"};
static const struct fixture fixture = NBD_FIXTURE(setup);

TEST(tcp_leaves_places_for_unix)
{
    int fds[ALL], other[HANDSHAKES];
    size_t count = 0;
    while (count < PEER)
        fds[count++] = open_idle(served.second_address);
    peer_must_be_closed(peer_connect(served.second_address)); /* one address has its part */
    for (size_t i = 0; i < HANDSHAKES; i++) {
        other[i] = connect_from("127.0.0.2"); /* another one has not */
        greeted(other[i]);
    }
    peer_must_be_closed(connect_from("127.0.0.3")); /* TCP has its part */
    while (count < ALL - HANDSHAKES)
        fds[count++] = open_idle(served.address);
    peer_must_be_closed(peer_connect(served.address)); /* and now there is none */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(peer_request(fds[i], 0, CMD_FLUSH, 0, 0, NULL), 0);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    for (size_t i = 0; i < HANDSHAKES; i++)
        close(other[i]);
}

/* The whole process becomes another user for a while, the server with it. */
TEST(a_user_leaves_places_for_root)
{
    int fds[USER];
    if (geteuid() != 0)
        skip(); /* only root can become others */
    assert_int_equal(chmod(scratch_dir(), 0711), 0);
    assert_int_equal(chmod(strchr(served.address, ':') + 1, 0666), 0);
    assert_int_equal(seteuid(65534), 0);
    for (size_t i = 0; i < USER; i++)
        fds[i] = open_idle(served.address);
    peer_must_be_closed(peer_connect(served.address));
    assert_int_equal(seteuid(0), 0);
    close(open_idle(served.address));
    for (size_t i = 0; i < USER; i++)
        close(fds[i]);
}

TEST(oldest_handshake_makes_room)
{
    const char *const addresses[] = {served.address, served.second_address};
    for (size_t i = 0; i < 2; i++) {
        int stuck[HANDSHAKES];
        for (size_t j = 0; j < HANDSHAKES; j++)
            stuck[j] = peer_greet(addresses[i], 3);
        int one = open_idle(addresses[i]);
        peer_must_be_closed(stuck[0]);
        int two = open_idle(addresses[i]); /* in the place of `one`, which is through */
        assert_int_equal(peer_request(one, 0, CMD_FLUSH, 0, 0, NULL), 0);
        for (size_t j = 1; j < HANDSHAKES; j++) { /* the others go on where they were */
            struct bytes bytes = {.length = 0};
            bytes_add_option(&bytes, OPT_ABORT, NULL, 0);
            peer_send_bytes(stuck[j], &bytes);
            peer_option_reply(stuck[j], OPT_ABORT, REP_ACK, NULL, 0);
            close(stuck[j]);
        }
        close(one);
        close(two);
    }
}

TEST(descriptors_are_left_to_others)
{
    struct rlimit before, few;
    int held[128];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 128, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    size_t count = 0;
    for (int fd = 0; fd < 90; count++) /* 32, a quarter, are to be left: room for a few pairs */
        held[count] = fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fd = open_idle(served.address);
    int last = 0;
    while (last < 96) /* a hole far below does not help */
        held[count++] = last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(held[0]); /* one for the client, one for the server */
    close(held[1]);
    peer_must_be_closed(peer_connect(served.address));
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
    for (size_t i = 2; i < count; i++)
        close(held[i]);
    close(open_idle(served.address));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}
