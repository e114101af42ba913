/* SPDX-License-Identifier: Apache-2.0
 *
 * throttle_fail(): a burst of failures, then one for each interval. Peers have buckets of their
 * own, an IPv6 network one together. More peers than there is room for take the buckets that are
 * full first, so that one that is empty stays.
 */
#include "tests/lib/testlib.h"

#include "service/http/auth.h"
#include "service/http/throttle.h"

#include <arpa/inet.h>

static struct throttle throttle = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct principal at(const char *address)
{
    struct principal peer = {.kind = PRINCIPAL_TCP};
    assert_int_equal(inet_pton(AF_INET6, address, &peer.address), 1);
    return peer;
}

/* Empties the bucket; how many failures that took. */
static unsigned empty(const struct principal *peer, uint64_t now_ms)
{
    unsigned count = 0;
    while (throttle_fail(&throttle, peer, now_ms) == 0)
        count++;
    return count;
}

static void test_bucket(void **state)
{
    (void)state;
    const uint64_t now_ms = 1000000;
    struct principal peer = at("::ffff:127.0.0.1"), other = at("::ffff:127.0.0.2");
    assert_int_equal(empty(&peer, now_ms), THROTTLE_BURST);
    assert_int_equal(throttle_fail(&throttle, &peer, now_ms), THROTTLE_INTERVAL_MS / 1000);
    assert_int_equal(throttle_fail(&throttle, &peer, now_ms + THROTTLE_INTERVAL_MS - 1), 1);
    assert_int_equal(empty(&peer, now_ms + THROTTLE_INTERVAL_MS), 1);
    assert_int_equal(empty(&peer, now_ms + 6 * THROTTLE_INTERVAL_MS), 5);
    assert_int_equal(empty(&peer, now_ms + 1000 * THROTTLE_INTERVAL_MS), THROTTLE_BURST);
    assert_int_equal(empty(&other, now_ms), THROTTLE_BURST);
}

static void test_peers(void **state)
{
    (void)state;
    struct principal host = at("2001:db8::1"), same = at("2001:db8::ffff:1"),
                     other = at("2001:db8:0:1::1"), user = {.kind = PRINCIPAL_UNIX, .uid = 1},
                     forbidden = {.kind = PRINCIPAL_UNIX_FORBIDDEN, .uid = 2};
    assert_int_equal(empty(&host, 1), THROTTLE_BURST);
    assert_int_equal(empty(&same, 1), 0);
    assert_int_equal(empty(&other, 1), THROTTLE_BURST);
    assert_int_equal(empty(&user, 1), THROTTLE_BURST);
    assert_int_equal(empty(&forbidden, 1), THROTTLE_BURST);
}

static void test_many(void **state)
{
    (void)state;
    const uint64_t now_ms = 1U << 30;
    struct principal empty_one = at("::ffff:10.0.0.1");
    assert_int_equal(empty(&empty_one, now_ms), THROTTLE_BURST);
    for (unsigned i = 0; i < 3 * THROTTLE_PEERS_MAX; i++) {
        struct principal peer = {.kind = PRINCIPAL_UNIX_FORBIDDEN, .uid = 1000 + i};
        assert_int_equal(throttle_fail(&throttle, &peer, now_ms), 0);
    }
    assert_int_equal(throttle.count, THROTTLE_PEERS_MAX);
    assert_int_equal(empty(&empty_one, now_ms), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
