/* SPDX-License-Identifier: Apache-2.0
 *
 * Of a caller with more than STORE_KEYS_MAX keys those go that were made first: after the clock was
 * set back, those from before that, which are of a time to come.
 */
#include "tests/lib/store-fixture.h"

#include "store/idempotency.h"

#include <stdio.h>

enum { HOUR_US = 1000000, OVER = 20 }; /* of this clock */

static const struct fixture fixture = STORE_FIXTURE;

static void keys_must_fill(void)
{
    char sql[400];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO idempotency_keys (caller, key, request_hash, request_id, created_at_us) "
             "SELECT 'c', 'old' || i, 'h', 'r', %d + i FROM n",
             STORE_KEYS_MAX, HOUR_US);
    store_sql(sql);
}

static int key_find(const char *name, uint64_t now_us)
{
    struct key_row row = {0};
    int found = store_key_get(store, "c", name, now_us, &row, &err);
    key_row_clear(&row);
    return found;
}

static void new_keys_must_stay(uint64_t now_us)
{
    char name[24];
    for (unsigned i = 0; i < OVER; i++) {
        snprintf(name, sizeof(name), "new%u", i);
        struct key_row row = {.caller = "c",
                              .key = name,
                              .request_hash = "h",
                              .request_id = "r",
                              .created_at_us = now_us + i};
        assert_int_equal(STORE_CHANGE(store_key_insert, &row), 0);
    }
    for (unsigned i = 0; i < OVER; i++) {
        snprintf(name, sizeof(name), "new%u", i);
        assert_int_equal(key_find(name, now_us + OVER), 1);
        snprintf(name, sizeof(name), "old%u", i + 1);
        assert_int_equal(key_find(name, now_us + OVER), 0);
    }
    assert_int_equal(key_find("old21", now_us + OVER), 1);
    assert_int_equal(store_number("SELECT count(*) FROM idempotency_keys"), STORE_KEYS_MAX);
}

TEST(a_clock_that_goes_on)
{
    keys_must_fill();
    new_keys_must_stay(2 * HOUR_US);
}

TEST(a_clock_that_is_set_back)
{
    keys_must_fill();
    new_keys_must_stay(1);
}
