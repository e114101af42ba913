/* SPDX-License-Identifier: Apache-2.0
 *
 * STARTTLS and what is allowed before it, where TLS is required (the protocol's FORCEDTLS mode) and
 * where it is optional (SELECTIVETLS). Section "TLS support" of the NBD protocol's text.
 */
#include "tests/lib/tls-peer.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct nbd_place place;
static const struct tls_client client = {.dir = "pki/client"};

static void begin(enum nbd_tls_mode mode)
{
    struct nbd_tls_spec spec = {.mode = mode, .cert_dir = "pki/server", .verify_peer = true};
    nbd_place_open(&place);
    nbd_place_set_tls(&place, &spec);
    nbd_place_add(&place, "disk", 1 << 20, false);
    nbd_place_listen(&place);
}

static int begin_required(void **state)
{
    (void)state;
    begin(NBD_TLS_REQUIRED);
    return 0;
}

static int begin_optional(void **state)
{
    (void)state;
    begin(NBD_TLS_OPTIONAL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    nbd_place_close(&place);
    return 0;
}

static void send_option(int fd, uint32_t option, const void *data, uint32_t length)
{
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, option, data, length);
    peer_send_bytes(fd, &bytes);
}

static void expect_reply(int fd, uint32_t option, const void *data, uint32_t length, uint32_t type)
{
    send_option(fd, option, data, length);
    peer_option_reply(fd, option, type, NULL, 0);
}

static void expect_go(int fd)
{
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 12);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 14);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_ACK, NULL, 0), 0);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
}

static void all_else_is_refused_where_it_is_required(void **state)
{
    (void)state;
    CLEANUP_FREE char *data = calloc(1, 1 << 20);
    int fd = peer_greet(place.address, 3);
    send_option(fd, OPT_EXPORT_NAME, "disk", 4);
    peer_must_be_closed(fd);
    assert_int_equal(nbd_place_clients(&place, "disk"), 0);
    fd = peer_greet(place.address, 3);
    for (uint32_t option = 0; option < 14; option++)
        if (option != OPT_EXPORT_NAME && option != OPT_ABORT && option != OPT_STARTTLS) {
            expect_reply(fd, option, NULL, 0, REP_ERR_TLS_REQD);
            expect_reply(fd, option, "\0\0\0\4disk\0\0", 10, REP_ERR_TLS_REQD);
        }
    expect_reply(fd, OPT_GO, data, 1 << 20, REP_ERR_TLS_REQD);
    fd = tls_peer_start(fd, &client); /* and it is not too late */
    assert_true(fd >= 0);
    expect_reply(fd, 1000, NULL, 0, REP_ERR_UNSUP);
    expect_reply(fd, OPT_GO, data, 1 << 20, REP_ERR_TOO_BIG);
    expect_go(fd);
    close(fd);

    fd = peer_greet(place.address, 3);
    expect_reply(fd, OPT_ABORT, NULL, 0, REP_ACK);
    peer_must_be_closed(fd);
}

static void export_name_works_inside(void **state)
{
    (void)state;
    int fd = tls_peer_greet(place.address, &client);
    send_option(fd, OPT_EXPORT_NAME, "disk", 4);
    assert_int_equal(peer_receive_number(fd, 8), 1 << 20);
    peer_receive_number(fd, 2);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
}

static void it_starts_once_and_without_data(void **state)
{
    (void)state;
    int fd = peer_greet(place.address, 3);
    expect_reply(fd, OPT_STARTTLS, "x", 1, REP_ERR_INVALID);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    expect_reply(fd, OPT_STARTTLS, NULL, 0, REP_ERR_INVALID);
    expect_reply(fd, OPT_STARTTLS, "x", 1, REP_ERR_INVALID);
    expect_go(fd);
    close(fd);
}

static void either_way_works_where_it_is_optional(void **state)
{
    (void)state;
    int fd = peer_greet(place.address, 3);
    expect_go(fd);
    close(fd);
    fd = peer_greet(place.address, 3);
    expect_reply(fd, 1000, NULL, 0, REP_ERR_UNSUP);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    expect_go(fd);
    close(fd);
}

/* What somebody on the way adds behind STARTTLS must have no effect, inside TLS or outside. */
static void what_was_negotiated_before_is_forgotten(void **state)
{
    (void)state;
    const char contexts[] = "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation";
    int fd = peer_greet(place.address, 3);
    expect_reply(fd, OPT_EXTENDED, NULL, 0, REP_ACK);
    send_option(fd, OPT_SET_META, contexts, sizeof(contexts) - 1);
    peer_option_reply(fd, OPT_SET_META, REP_META_CONTEXT, NULL, 0);
    peer_option_reply(fd, OPT_SET_META, REP_ACK, NULL, 0);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    expect_reply(fd, OPT_SET_META, contexts, sizeof(contexts) - 1, REP_ERR_INVALID);
    expect_go(fd); /* in compact requests and simple replies */
    assert_int_equal(peer_request(fd, 0, CMD_BLOCK_STATUS, 0, 4096, NULL), ERROR_INVAL);
    close(fd);
}

static void plain_text_behind_it_ends_the_connection(void **state)
{
    (void)state;
    static const uint32_t options[] = {OPT_GO, OPT_LIST, OPT_ABORT, OPT_STARTTLS};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        unsigned char type;
        struct bytes bytes = {.length = 0};
        int fd = peer_greet(place.address, 3);
        bytes_add_option(&bytes, OPT_STARTTLS, NULL, 0);
        if (options[i] == OPT_GO)
            bytes_add_go(&bytes, OPT_GO, "disk", 0, NULL);
        else
            bytes_add_option(&bytes, options[i], NULL, 0);
        peer_send_bytes(fd, &bytes);
        assert_int_equal(peer_option_reply(fd, OPT_STARTTLS, REP_ACK, NULL, 0), 0);
        peer_receive(fd, &type, 1);
        assert_int_equal(type, 21); /* a TLS alert, and no reply to an option */
        shutdown(fd, SHUT_WR);
        while (recv(fd, &type, 1, 0) > 0)
            ;
        close(fd);
        assert_int_equal(nbd_place_clients(&place, "disk"), 0);
    }
}

static void old_clients_cannot_ask_for_it(void **state)
{
    (void)state;
    int fd = peer_greet(place.address, 0); /* they would not know the reply from an export */
    send_option(fd, OPT_STARTTLS, NULL, 0);
    peer_must_be_closed(fd);
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
        cmocka_unit_test_setup_teardown(all_else_is_refused_where_it_is_required, begin_required,
                                        end),
        cmocka_unit_test_setup_teardown(export_name_works_inside, begin_required, end),
        cmocka_unit_test_setup_teardown(it_starts_once_and_without_data, begin_required, end),
        cmocka_unit_test_setup_teardown(either_way_works_where_it_is_optional, begin_optional, end),
        cmocka_unit_test_setup_teardown(what_was_negotiated_before_is_forgotten, begin_optional,
                                        end),
        cmocka_unit_test_setup_teardown(plain_text_behind_it_ends_the_connection, begin_optional,
                                        end),
        cmocka_unit_test_setup_teardown(what_was_negotiated_before_is_forgotten, begin_optional,
                                        end),
        cmocka_unit_test_setup_teardown(plain_text_behind_it_ends_the_connection, begin_required,
                                        end),
        cmocka_unit_test_setup_teardown(old_clients_cannot_ask_for_it, begin_optional, end),
    };
    return cmocka_run_group_tests_name("nbd starttls", tests, make, scratch_end);
}
