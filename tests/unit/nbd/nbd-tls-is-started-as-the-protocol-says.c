/* SPDX-License-Identifier: Apache-2.0
 *
 * STARTTLS and what is allowed before it, where TLS is required (the protocol's FORCEDTLS mode) and
 * where it is optional (SELECTIVETLS). Section "TLS support" of the NBD protocol's text.
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct tls_client client = {.dir = "pki/client"};

static void expect_go(int fd)
{
    peer_go(fd, "disk");
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
}

#define SETUP(its_mode)                                                                            \
    {                                                                                              \
        .tls = {.mode = its_mode, .cert_dir = "pki/server", .verify_peer = true}, .disks = {       \
            {.name = "disk", .size_bytes = 1 << 20}                                                \
        }                                                                                          \
    }
static const struct nbd_setup required_setup = SETUP(NBD_TLS_REQUIRED);
static const struct nbd_setup optional_setup = SETUP(NBD_TLS_OPTIONAL);
static const struct fixture required = NBD_FIXTURE(required_setup);
static const struct fixture optional = NBD_FIXTURE(optional_setup);

TEST_ON(required, all_else_is_refused_where_it_is_required)
{
    CLEANUP_FREE char *data = calloc(1, 1 << 20);
    int fd = peer_greet(served.address, 3);
    peer_send_option(fd, OPT_EXPORT_NAME, "disk", 4);
    peer_must_be_closed(fd);
    assert_int_equal(served_clients("disk"), 0);
    fd = peer_greet(served.address, 3);
    for (uint32_t option = 0; option < 14; option++)
        if (option != OPT_EXPORT_NAME && option != OPT_ABORT && option != OPT_STARTTLS) {
            peer_ask_option(fd, option, NULL, 0, REP_ERR_TLS_REQD);
            peer_ask_option(fd, option, "\0\0\0\4disk\0\0", 10, REP_ERR_TLS_REQD);
        }
    peer_ask_option(fd, OPT_GO, data, 1 << 20, REP_ERR_TLS_REQD);
    fd = tls_peer_start(fd, &client); /* and it is not too late */
    assert_true(fd >= 0);
    peer_ask_option(fd, 1000, NULL, 0, REP_ERR_UNSUP);
    peer_ask_option(fd, OPT_GO, data, 1 << 20, REP_ERR_TOO_BIG);
    expect_go(fd);
    close(fd);

    fd = peer_greet(served.address, 3);
    peer_ask_option(fd, OPT_ABORT, NULL, 0, REP_ACK);
    peer_must_be_closed(fd);
}

TEST_ON(required, export_name_works_inside)
{
    int fd = tls_peer_greet(served.address, &client);
    peer_send_option(fd, OPT_EXPORT_NAME, "disk", 4);
    assert_int_equal(peer_receive_number(fd, 8), 1 << 20);
    peer_receive_number(fd, 2);
    assert_int_equal(peer_request(fd, 0, CMD_FLUSH, 0, 0, NULL), 0);
    close(fd);
}

TEST_ON(required, it_starts_once_and_without_data)
{
    int fd = peer_greet(served.address, 3);
    peer_ask_option(fd, OPT_STARTTLS, "x", 1, REP_ERR_INVALID);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    peer_ask_option(fd, OPT_STARTTLS, NULL, 0, REP_ERR_INVALID);
    peer_ask_option(fd, OPT_STARTTLS, "x", 1, REP_ERR_INVALID);
    expect_go(fd);
    close(fd);
}

TEST_ON(optional, either_way_works_where_it_is_optional)
{
    int fd = peer_greet(served.address, 3);
    expect_go(fd);
    close(fd);
    fd = peer_greet(served.address, 3);
    peer_ask_option(fd, 1000, NULL, 0, REP_ERR_UNSUP);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    expect_go(fd);
    close(fd);
}

/* What somebody on the way adds behind STARTTLS must have no effect, inside TLS or outside. */
TEST_ON(optional, what_was_negotiated_before_is_forgotten)
{
    const char contexts[] = "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation";
    int fd = peer_greet(served.address, 3);
    peer_ask_option(fd, OPT_EXTENDED, NULL, 0, REP_ACK);
    peer_send_option(fd, OPT_SET_META, contexts, sizeof(contexts) - 1);
    peer_option_reply(fd, OPT_SET_META, REP_META_CONTEXT, NULL, 0);
    peer_option_reply(fd, OPT_SET_META, REP_ACK, NULL, 0);
    fd = tls_peer_start(fd, &client);
    assert_true(fd >= 0);
    peer_ask_option(fd, OPT_SET_META, contexts, sizeof(contexts) - 1, REP_ERR_INVALID);
    expect_go(fd); /* in compact requests and simple replies */
    assert_int_equal(peer_request(fd, 0, CMD_BLOCK_STATUS, 0, 4096, NULL), ERROR_INVAL);
    close(fd);
}

static void plain_text_must_end_the_connection(void)
{
    static const uint32_t options[] = {OPT_GO, OPT_LIST, OPT_ABORT, OPT_STARTTLS};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        unsigned char type;
        struct bytes bytes = {.length = 0};
        int fd = peer_greet(served.address, 3);
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
        assert_int_equal(served_clients("disk"), 0);
    }
}

TEST_ON(optional, plain_text_behind_it_ends_the_connection)
{
    plain_text_must_end_the_connection();
}

TEST_ON(required, plain_text_behind_it_ends_the_connection_where_tls_is_required)
{
    plain_text_must_end_the_connection();
}

TEST_ON(optional, old_clients_cannot_ask_for_it)
{
    int fd = peer_greet(served.address, 0); /* they would not know the reply from an export */
    peer_send_option(fd, OPT_STARTTLS, NULL, 0);
    peer_must_be_closed(fd);
}
