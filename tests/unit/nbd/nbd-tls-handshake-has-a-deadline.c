/* SPDX-License-Identifier: Apache-2.0
 *
 * The one deadline of the handshake covers TLS's own, however a peer spends the time; peers that
 * stall hold nobody up, and those from beyond loopback cannot take every connection there is. The
 * deadline and the limits are shortened for the test.
 */
#include "tests/lib/tls-peer.h"

#include "block/nbd/server.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_MS = 200, STRANGERS = 3 };

static struct nbd_place place;
static char remote[64]; /* a listener on all addresses, as it is reached from here */
static const struct tls_client client = {.dir = "pki/client"};

static void begin(unsigned handshake_ms)
{
    struct err err;
    struct nbd_tls_spec spec = {
        .mode = NBD_TLS_OPTIONAL, .cert_dir = "pki/server", .verify_peer = true};
    nbd_place_open(&place);
    nbd_place_set_tls(&place, &spec);
    nbd_place_add(&place, "disk", 1 << 20, false);
    place.server->limits.handshake_ms = handshake_ms;
    place.server->limits.handshakes = STRANGERS;
    nbd_place_listen(&place);
    assert_int_equal(nbd_server_listen(place.server, "0.0.0.0:0", &err), 0);
    snprintf(remote, sizeof(remote), "127.0.0.1:%s",
             strrchr(place.server->listeners[1].address, ':') + 1);
}

static int begin_short(void **state)
{
    (void)state;
    begin(DEADLINE_MS);
    return 0;
}

static int begin_long(void **state)
{
    (void)state;
    begin(3600000);
    return 0;
}

static int end(void **state)
{
    (void)state;
    nbd_place_close(&place);
    return 0;
}

/* Starts TLS and says only this. */
static int stall(const char *address, const void *said, size_t length)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(address, 3);
    bytes_add_option(&bytes, OPT_STARTTLS, NULL, 0);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_STARTTLS, REP_ACK, NULL, 0), 0);
    peer_send(fd, said, length);
    return fd;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void expect_hang_up(int fd, uint64_t start_ms)
{
    char alert[100];
    while (recv(fd, alert, sizeof(alert), 0) > 0)
        ;
    close(fd);
    assert_in_range(now_ms() - start_ms, DEADLINE_MS, PEER_WAIT_S * 1000 / 2);
}

static void silence_is_hung_up_on(void **state)
{
    (void)state;
    uint64_t start_ms = now_ms();
    expect_hang_up(stall(place.address, "", 0), start_ms);
    start_ms = now_ms();
    expect_hang_up(stall(place.address, "\x16\x03", 2), start_ms); /* half a record's header */
    start_ms = now_ms();
    expect_hang_up(stall(place.address, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9), start_ms);
}

static void trickling_gains_nothing(void **state)
{
    (void)state;
    /* The header of a record of 16 KiB, then that record, a byte at a time. */
    uint64_t start_ms = now_ms();
    int fd = stall(place.address, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", 11);
    while (send(fd, "", 1, MSG_NOSIGNAL) > 0) {
        usleep(5000);
        assert_true(now_ms() - start_ms < PEER_WAIT_S * 1000);
    }
    expect_hang_up(fd, start_ms);
}

static void it_is_for_options_and_tls_together(void **state)
{
    (void)state;
    uint64_t start_ms = now_ms();
    int fd = tls_peer_greet(place.address, &client);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, 1000, NULL, 0);
    while (send(fd, bytes.at, bytes.length, MSG_NOSIGNAL) > 0 &&
           now_ms() - start_ms < PEER_WAIT_S * 1000)
        usleep(5000);
    bytes_clear(&bytes);
    expect_hang_up(fd, start_ms);
}

static void others_are_not_held_up(void **state)
{
    (void)state;
    int stalled[50];
    for (size_t i = 0; i < 50; i++)
        stalled[i] = stall(place.address, "\x16\x03", 2);
    int fd = tls_peer_greet(place.address, &client);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_receive_number(fd, 8), 1 << 20);
    close(fd);
    for (size_t i = 0; i < 50; i++)
        close(stalled[i]);
}

static void strangers_leave_room(void **state)
{
    (void)state;
    int stalled[STRANGERS];
    peer_must_be_closed(peer_greet(remote, 0x80000000)); /* one that came and went */
    for (size_t i = 0; i < STRANGERS; i++)
        stalled[i] = stall(remote, "", 0);
    close(peer_open(place.address, "disk"));  /* who is here gets in */
    int fd = tls_peer_greet(remote, &client); /* and who is quick, in the place of the oldest */
    peer_must_be_closed(stalled[0]);
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    peer_receive_number(fd, 8);
    peer_receive_number(fd, 2);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    for (size_t i = 0; i < STRANGERS; i++) /* who is through is a stranger no more */
        close(stall(remote, "", 0));
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
    close(stalled[1]);
    close(stalled[2]);
}

static void plain_text_gets_nowhere_from_beyond(void **state)
{
    (void)state;
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(remote, 3);
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL); /* though TLS is optional */
    bytes_add_option(&bytes, OPT_EXPORT_NAME, "disk", 4);
    peer_send_bytes(fd, &bytes);
    peer_option_reply(fd, OPT_GO, REP_ERR_TLS_REQD, NULL, 0);
    peer_must_be_closed(fd);
    assert_int_equal(nbd_place_clients(&place, "disk"), 0);
}

static int make(void **state)
{
    scratch_begin(state);
    tls_pki_create();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(silence_is_hung_up_on, begin_short, end),
        cmocka_unit_test_setup_teardown(trickling_gains_nothing, begin_short, end),
        cmocka_unit_test_setup_teardown(it_is_for_options_and_tls_together, begin_short, end),
        cmocka_unit_test_setup_teardown(others_are_not_held_up, begin_long, end),
        cmocka_unit_test_setup_teardown(strangers_leave_room, begin_long, end),
        cmocka_unit_test_setup_teardown(plain_text_gets_nowhere_from_beyond, begin_long, end),
    };
    return cmocka_run_group_tests_name("nbd tls deadline", tests, make, scratch_end);
}
