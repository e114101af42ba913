/* SPDX-License-Identifier: Apache-2.0
 *
 * Which file is taken for the database, at the start and while it is open: the table in
 * store/database-file.c, line by line. What is refused is left as it is.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

/* The start must be refused with these words; nothing changes. */
static void must_refuse(const char *const *words)
{
    CLEANUP_FREE char *before = shell_output("sha256sum db*; ls");
    store = store_open(STORE_PATH, &err);
    assert_null(store);
    assert_int_equal(err.code, ErrStoreFailed);
    for (; *words; words++)
        if (!strstr(err.message, *words))
            fail_msg("the refusal does not mention '%s': %s", *words, err.message);
    CLEANUP_FREE char *after = shell_output("sha256sum db*; ls");
    assert_string_equal(after, before);
}

TEST(a_new_database_writes_its_id)
{
    shell("grep -Eq '^[0-9a-f]{32}$' db.id");
    shell("test \"$(cat db.id)\" = \"$(sqlite3 -readonly db 'SELECT id FROM store_meta')\"");
    CLEANUP_FREE char *before = shell_output("cat db.id");
    store_restart();
    CLEANUP_FREE char *after = shell_output("cat db.id");
    assert_string_equal(after, before);
}

TEST(a_missing_database_is_not_made_anew)
{
    store_close(steal(store));
    shell("mkdir away && mv db away/");
    must_refuse(WORDS("db.id", "missing"));
    shell("mv away/db . && rmdir away");
    store = store_open(STORE_PATH, &err);
    assert_non_null(store);
}

TEST(a_database_without_its_id_gets_it_again)
{
    shell("cp db.id kept && rm db.id");
    store_restart();
    shell("cmp kept db.id && rm kept");
}

TEST(another_database_is_refused)
{
    store_close(steal(store));
    shell("cp db.id kept && tr 0-9a-f 1-9a-f0 <kept >db.id");
    must_refuse(WORDS("another one", "db.id"));
    shell("echo short >db.id");
    must_refuse(WORDS("db.id", "does not hold the id"));
    shell("mv kept db.id && sqlite3 db 'PRAGMA application_id = 1' && rm -f db-wal db-shm");
    must_refuse(WORDS("not of snapgroupd"));
}

TEST(a_newer_schema_is_refused)
{
    store_close(steal(store));
    shell("sqlite3 db 'PRAGMA user_version = 1000000' && rm -f db-wal db-shm");
    must_refuse(WORDS("1000000", "newer"));
}

TEST(one_process_has_it)
{
    struct store *first = steal(store);
    store = store_open(STORE_PATH, &err);
    assert_null(store);
    assert_int_equal(err.code, ErrStoreFailed);
    assert_non_null(strstr(err.message, "in use by another snapgroupd"));
    store_close(first);
    store = store_open(STORE_PATH, &err);
    assert_non_null(store);
}

/* Another file in its place, though it is a copy of the same: every call is refused until the right
 * one is back and the store was opened again. */
TEST(another_file_in_its_place_ends_the_use)
{
    struct device_row row = device_example("b", 2), got;
    device_must_insert("a", 1);
    shell("mv db right && cp right db");
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), -1);
    assert_int_equal(err.code, ErrStoreFailed);
    assert_true(store_is_failed(store));
    assert_int_equal(store_device_get(store, "a", &got, &err), -1);
    assert_int_equal(err.code, ErrStoreFailed);
    assert_int_equal(store_reopen(store, &err), -1);
    assert_int_equal(err.code, ErrStoreFailed);
    shell("mv right db");
    assert_int_equal(store_device_get(store, "a", &got, &err), -1); /* not by itself */
    assert_int_equal(store_reopen(store, &err), 0);
    assert_false(store_is_failed(store));
    assert_int_equal(store_device_get(store, "a", &got, &err), 0);
    device_row_clear(&got);
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
}
