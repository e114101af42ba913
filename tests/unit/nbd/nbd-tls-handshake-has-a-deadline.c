/* SPDX-License-Identifier: Apache-2.0
 *
 * The one deadline of the handshake covers TLS's own, however a peer spends the time; peers that
 * stall hold nobody up, and those from beyond loopback cannot take every connection there is. The
 * deadline and the limits are shortened for the test.
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_MS = 200, STRANGERS = 3, TRIES_MAX = 50 };

static const struct tls_client client = {.dir = "pki/client"};

/* Starts TLS and says only this. */
static int stall(const char *address, const void *said, size_t length)
{
    int fd = peer_greet(address, 3);
    assert_true(tls_peer_ask(fd));
    peer_send(fd, said, length);
    return fd;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The same where the deadline is short: on a slow machine it may pass before TLS is started. */
static int stall_in_time(const void *said, size_t length, uint64_t *start_ms)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        *start_ms = now_ms();
        int fd = peer_greet(served.address, 3);
        if (!tls_peer_ask(fd))
            continue;
        send(fd, said, length, MSG_NOSIGNAL); /* or it is too late for that */
        return fd;
    }
    fail_msg("TLS was never started in time");
    return -1;
}

static void expect_hang_up(int fd, uint64_t start_ms)
{
    char alert[100];
    while (recv(fd, alert, sizeof(alert), 0) > 0)
        ;
    close(fd);
    assert_in_range(now_ms() - start_ms, DEADLINE_MS, PEER_WAIT_S * 1000 / 2);
}

static void prepare_short(void)
{
    served.server->limits.handshake_ms = DEADLINE_MS;
    served.server->limits.handshakes = STRANGERS;
}

static void prepare_long(void)
{
    served.server->limits.handshake_ms = 3600000;
    served.server->limits.handshakes = STRANGERS;
}

/* The second address is all of this machine's. */
#define SETUP(its_prepare)                                                                         \
    {                                                                                              \
        .tls = {.mode = NBD_TLS_OPTIONAL, .cert_dir = "pki/server", .verify_peer = true},          \
        .prepare = its_prepare, .disks = {{.name = "disk", .size_bytes = 1 << 20}},                \
        .second_address = "0.0.0.0:0"                                                              \
    }
static const struct nbd_setup short_setup = SETUP(prepare_short), long_setup = SETUP(prepare_long);
static const struct fixture short_deadline = NBD_FIXTURE(short_setup);
static const struct fixture long_deadline = NBD_FIXTURE(long_setup);

TEST_ON(short_deadline, silence_is_hung_up_on)
{
    static const struct {
        const char *said;
        size_t length;
    } beginnings[] = {{"", 0},
                      {"\x16\x03", 2}, /* half a record's header */
                      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9}};
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++) {
        uint64_t start_ms;
        int fd = stall_in_time(beginnings[i].said, beginnings[i].length, &start_ms);
        expect_hang_up(fd, start_ms);
    }
}

TEST_ON(short_deadline, trickling_gains_nothing)
{
    /* The header of a record of 16 KiB, then that record, a byte at a time. */
    uint64_t start_ms;
    int fd = stall_in_time("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", 11, &start_ms);
    while (send(fd, "", 1, MSG_NOSIGNAL) > 0) {
        usleep(5000);
        assert_true(now_ms() - start_ms < PEER_WAIT_S * 1000);
    }
    expect_hang_up(fd, start_ms);
}

TEST_ON(short_deadline, it_is_for_options_and_tls_together)
{
    uint64_t start_ms = 0;
    int fd = -1;
    for (int tries = 0; fd < 0 && tries < TRIES_MAX; tries++) { /* on a slow machine TLS is late */
        start_ms = now_ms();
        fd = peer_greet(served.address, 3);
        fd = tls_peer_ask(fd) ? tls_peer_shake_hands(fd, &client) : -1;
    }
    assert_true(fd >= 0);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, 1000, NULL, 0);
    while (send(fd, bytes.at, bytes.length, MSG_NOSIGNAL) > 0 &&
           now_ms() - start_ms < PEER_WAIT_S * 1000)
        usleep(5000);
    bytes_clear(&bytes);
    expect_hang_up(fd, start_ms);
}

TEST_ON(long_deadline, others_are_not_held_up)
{
    int stalled[50];
    for (size_t i = 0; i < 50; i++)
        stalled[i] = stall(served.address, "\x16\x03", 2);
    int fd = tls_peer_greet(served.address, &client);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_receive_number(fd, 8), 1 << 20);
    close(fd);
    for (size_t i = 0; i < 50; i++)
        close(stalled[i]);
}

TEST_ON(long_deadline, strangers_leave_room)
{
    int stalled[STRANGERS];
    peer_must_be_closed(peer_greet(served.second_address, 0x80000000)); /* one that came and went */
    for (size_t i = 0; i < STRANGERS; i++)
        stalled[i] = stall(served.second_address, "", 0);
    close(peer_open(served.address, "disk")); /* who is here gets in */
    int fd = tls_peer_greet(served.second_address,
                            &client); /* and who is quick, in the place of the oldest */
    peer_must_be_closed(stalled[0]);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    peer_receive_number(fd, 8);
    peer_receive_number(fd, 2);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    for (size_t i = 0; i < STRANGERS; i++) /* who is through is a stranger no more */
        close(stall(served.second_address, "", 0));
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
    close(stalled[1]);
    close(stalled[2]);
}

TEST_ON(long_deadline, plain_text_gets_nowhere_from_beyond)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(served.second_address, 3);
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL); /* though TLS is optional */
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, OPT_GO, REP_ERR_TLS_REQD, NULL, 0);
    peer_must_be_closed(fd);
    assert_int_equal(served_clients("disk"), 0);
}
