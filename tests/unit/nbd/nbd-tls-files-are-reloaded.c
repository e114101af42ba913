/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of TLS that are replaced count for connections that begin after a reload: those that are
 * open go on, even of a client that is revoked now. A reload of files that are no good changes
 * nothing.
 */
#include "tests/lib/nbd-fixture.h"
#include "tests/lib/tls-peer.h"

#include <string.h>

static int start(const char *dir)
{
    return tls_peer_start(peer_greet(served.address, 3), &(struct tls_client){.dir = dir});
}

static void prepare(void)
{
    served.server->limits.linger_ms = 100; /* some refused clients do not listen */
}

static const struct nbd_setup setup = {
    .tls = {.mode = NBD_TLS_REQUIRED, .cert_dir = "pki/changing", .verify_peer = true},
    .prepare = prepare,
    .disks = {{.name = "disk", .size_bytes = 1 << 20}}};

static int begin_all(void **state)
{
    int ret = nbd_begin_all(state);
    pki_create();
    return ret;
}

static int begin(void **state)
{
    shell("rm -rf pki/changing && cp -r pki/server pki/changing");
    return nbd_begin(state);
}

static const struct fixture fixture = {.begin_all = begin_all,
                                       .end_all = scratch_end,
                                       .begin = begin,
                                       .end = nbd_end,
                                       .state = (void *)(uintptr_t)&setup};

TEST(new_files_count_for_new_connections)
{
    struct err err;
    int open_fd = start("pki/client-revoked");
    assert_true(tls_peer_is_answered(start("pki/client-revoked")));
    shell("cp pki/server-crl/ca-crl.pem pki/changing/");
    assert_true(tls_peer_is_answered(start("pki/client-revoked"))); /* not yet */
    assert_int_equal(nbd_server_set_tls(served.server, &setup.tls, &err), 0);
    assert_false(tls_peer_is_answered(start("pki/client-revoked")));
    assert_true(tls_peer_is_answered(start("pki/client")));
    assert_true(tls_peer_is_answered(open_fd));
}

TEST(bad_files_change_nothing)
{
    struct err err;
    shell("chmod o+r pki/changing/server-key.pem");
    assert_int_equal(nbd_server_set_tls(served.server, &setup.tls, &err), -1);
    assert_non_null(strstr(err.message, "pki/changing/server-key.pem"));
    assert_true(tls_peer_is_answered(start("pki/client")));
}
