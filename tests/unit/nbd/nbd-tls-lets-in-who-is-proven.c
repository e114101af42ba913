/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets through TLS, with 1.3 and with 1.2: clients with a good certificate or key, and nobody
 * else. What makes a certificate bad is certtool's doing (tests/lib/certificates.sh).
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK:+DHE-PSK"

/* Whether the client gets through TLS and is answered. */
static bool gets_in(struct tls_client client)
{
    return tls_peer_is_answered(tls_peer_start(peer_greet(served.address, 3), &client));
}

static void expect(bool wanted, struct tls_client client)
{
    static const char *const rules[] = {NULL, TLS12, TLS13};
    for (size_t i = 0; i < 3; i++) {
        client.rules = rules[i];
        if (gets_in(client) != wanted)
            fail_msg("%s%s gets %s with %s", client.dir ? client.dir : "",
                     client.psk_name ? client.psk_name : "", wanted ? "not in" : "in",
                     rules[i] ? rules[i] : "the default rules");
    }
}

static void prepare(void)
{
    served.server->limits.linger_ms = 100; /* some refused clients do not listen */
}

static void serve(const char *cert_dir, bool verify_peer, const char *psk_file)
{
    served_begin(&(struct nbd_setup){.tls = {.mode = NBD_TLS_REQUIRED,
                                             .cert_dir = cert_dir,
                                             .verify_peer = verify_peer,
                                             .psk_file = psk_file},
                                     .prepare = prepare,
                                     .disks = {{.name = "disk", .size_bytes = 1 << 20}}});
}

static const struct fixture fixture = {
    .begin_all = nbd_begin_all, .end_all = scratch_end, .end = nbd_end};

TEST(certificates_are_verified)
{
    static const char *const bad[] = {
        "pki/client-revoked", "pki/client-expired",  "pki/client-early",   "pki/client-purpose",
        "pki/client-none",    "pki/client-stranger", "pki/client-wrong-ca"};
    serve("pki/server-crl", true, NULL);
    expect(true, (struct tls_client){.dir = "pki/client"});
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        expect(false, (struct tls_client){.dir = bad[i]});
    expect(false, (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk"});
}

TEST(without_revocations_that_one_is_good)
{
    serve("pki/server", true, NULL);
    expect(true, (struct tls_client){.dir = "pki/client-revoked"});
    expect(false, (struct tls_client){.dir = "pki/client-expired"});
}

TEST(an_outdated_list_of_revocations_still_counts)
{
    serve("pki/server-crl-old", true, NULL);
    expect(true, (struct tls_client){.dir = "pki/client"});
    expect(false, (struct tls_client){.dir = "pki/client-revoked"});
}

TEST(anybody_gets_in_where_nothing_is_verified)
{
    serve("pki/server", false, NULL);
    expect(true, (struct tls_client){.dir = "pki/client"});
    expect(true, (struct tls_client){.dir = "pki/client-none"});
    expect(false, (struct tls_client){.dir = "pki/client-wrong-ca"}); /* its own wish */
}

TEST(keys_are_verified)
{
    serve(NULL, false, "pki/psk");
    expect(true, (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk"});
    expect(false, (struct tls_client){.psk_name = "bob", .psk_file = "pki/psk"}); /* alice's key */
    expect(false, (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk-mallory"});
    expect(false, (struct tls_client){.psk_name = "alic", .psk_file = "pki/psk"});
    expect(false, (struct tls_client){.psk_name = "carol", .psk_file = "pki/psk"});
    expect(false, (struct tls_client){.dir = "pki/client"});
}

TEST(either_is_enough_where_there_are_both)
{
    serve("pki/server-crl", true, "pki/psk");
    expect(true, (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk"});
    expect(true, (struct tls_client){.dir = "pki/client"});
    expect(false, (struct tls_client){.dir = "pki/client-none"});
    expect(false, (struct tls_client){.dir = "pki/client-revoked"});
    expect(false, (struct tls_client){.psk_name = "alice", .psk_file = "pki/psk-mallory"});
}

TEST(weak_rules_find_no_common_ground)
{
    static const char *const weak[] = {
        "NORMAL:-VERS-ALL:+VERS-TLS1.1",
        "NORMAL:-VERS-ALL:+VERS-TLS1.0",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH:+ANON-DH",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+PSK",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-CBC:+AES-128-CBC"};
    serve("pki/server", false, "pki/psk");
    for (size_t i = 0; i < sizeof(weak) / sizeof(*weak); i++) {
        struct tls_client client = {
            .dir = "pki/client", .psk_name = "alice", .psk_file = "pki/psk", .rules = weak[i]};
        if (gets_in(client))
            fail_msg("gets in with %s", weak[i]);
    }
}
