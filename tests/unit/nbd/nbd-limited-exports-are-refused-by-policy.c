/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client is told of an export that is limited to others: NBD_REP_ERR_POLICY for GO, INFO and
 * both options of metadata contexts, with the reason; the server hangs up after EXPORT_NAME, and
 * LIST leaves the export out. The names of a certificate count, and the user of a pre-shared key.
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#include <string.h>
#include <unistd.h>

static const struct tls_client certificate = {.dir = "pki/client"},
                               alice = {.psk_name = "alice", .psk_file = "pki/psk"};

static const struct nbd_setup setup = {
    .tls = {.mode = NBD_TLS_OPTIONAL,
            .cert_dir = "pki/server",
            .verify_peer = true,
            .psk_file = "pki/psk"},
    .disks = {{.name = "disk", .size_bytes = 1 << 20}, {.name = "open", .size_bytes = 1 << 20}},
};
static const struct fixture fixture = NBD_FIXTURE(setup);

static void allow(const char *name)
{
    struct err err;
    struct allowed_clients *list = allowed_clients_new(&name, 1, &err);
    assert_non_null(list);
    block_device_allow(served.block, "disk", list);
    allowed_clients_unref(list);
}

/* Options that have a reply, about "disk". */
static void ask(int fd, uint32_t option, uint32_t type)
{
    static const char *const queries[] = {"base:allocation", NULL};
    struct bytes bytes = {0};
    char reason[1024] = "";
    if (option == OPT_GO || option == OPT_INFO)
        bytes_add_go(&bytes, option, "disk", 0, NULL);
    else
        bytes_add_meta(&bytes, option, "disk", queries);
    peer_send_bytes(fd, &bytes);
    bytes_clear(&bytes);
    peer_option_reply(fd, option, type, reason, sizeof(reason) - 1);
    if (type == REP_ERR_POLICY)
        assert_non_null(strstr(reason, "; "));
}

static void must_be_refused(int fd)
{
    static const uint32_t options[] = {OPT_INFO, OPT_LIST_META, OPT_SET_META, OPT_GO};
    peer_ask_option(fd, OPT_STRUCTURED, NULL, 0, REP_ACK);
    for (size_t i = 0; i < 4; i++)
        ask(fd, options[i], REP_ERR_POLICY);
    peer_go(fd, "open"); /* the connection is as good as any */
    close(fd);
}

static void must_be_admitted(int fd)
{
    peer_ask_option(fd, OPT_STRUCTURED, NULL, 0, REP_ACK);
    ask(fd, OPT_LIST_META, REP_META_CONTEXT);
    peer_option_reply(fd, OPT_LIST_META, REP_ACK, NULL, 0);
    peer_go(fd, "disk");
    close(fd);
}

static int with_tls(struct tls_client client)
{
    return tls_peer_greet(served.address, &client);
}

TEST(users_of_keys_count)
{
    allow("alice");
    must_be_admitted(with_tls(alice));
    must_be_refused(with_tls(certificate));
    must_be_refused(peer_greet(served.address, 3));
}

TEST(names_of_certificates_count)
{
    allow("client"); /* the common name */
    must_be_admitted(with_tls(certificate));
    must_be_refused(with_tls(alice));
    allow("localhost"); /* a DNS name */
    must_be_admitted(with_tls(certificate));
    must_be_refused(with_tls(alice));
}

TEST(export_name_ends_the_connection)
{
    allow("alice");
    int fd = peer_greet(served.address, 3);
    peer_send_option(fd, OPT_EXPORT_NAME, "disk", 4);
    peer_must_be_closed(fd);
    close(fd);
}

TEST(lists_leave_the_export_out)
{
    char name[64];
    allow("alice");
    int fd = peer_greet(served.address, 3);
    peer_send_option(fd, OPT_LIST, NULL, 0);
    assert_int_equal(peer_option_reply(fd, OPT_LIST, REP_SERVER, name, sizeof(name)), 8);
    assert_memory_equal(name + 4, "open", 4);
    peer_option_reply(fd, OPT_LIST, REP_ACK, NULL, 0);
    close(fd);
    fd = with_tls(alice);
    peer_send_option(fd, OPT_LIST, NULL, 0);
    peer_option_reply(fd, OPT_LIST, REP_SERVER, name, sizeof(name));
    peer_option_reply(fd, OPT_LIST, REP_SERVER, name, sizeof(name));
    peer_option_reply(fd, OPT_LIST, REP_ACK, NULL, 0);
    close(fd);
}

TEST(a_name_from_before_tls_is_none)
{
    allow("alice");
    int fd = peer_greet(served.address, 3);
    peer_ask_option(fd, OPT_STRUCTURED, NULL, 0, REP_ACK);
    ask(fd, OPT_INFO, REP_ERR_POLICY);
    fd = tls_peer_start(fd, &alice);
    assert_true(fd >= 0);
    must_be_admitted(fd);
}
