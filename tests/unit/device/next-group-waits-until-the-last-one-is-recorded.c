/* SPDX-License-Identifier: Apache-2.0
 *
 * While a group's row says `committing`, no other group of one of its devices is begun: else the
 * later one's top could be recorded before the earlier one's. Groups of other devices are, and so
 * is one of a new device that has the name.
 */
#include "tests/lib/testlib.h"

#include "store/devices.h"
#include "store/groups.h"
#include "store/store.h"

#include <stdio.h>

static char directory[] = "/tmp/sg-unit-XXXXXX";
static struct store *store;
static struct err err;

static int commit_device(int query(struct store_transaction *, const struct device_row *,
                                   struct err *),
                         const struct device_row *row)
{
    CLEANUP(store_transaction) struct store_transaction *transaction = store_begin(store, &err);
    if (!transaction || query(transaction, row, &err) != 0)
        return -1;
    return store_commit(steal(transaction), &err);
}

static int commit_group(int query(struct store_transaction *, const struct group_row *,
                                  struct err *),
                        const struct group_row *row)
{
    CLEANUP(store_transaction) struct store_transaction *transaction = store_begin(store, &err);
    if (!transaction || query(transaction, row, &err) != 0)
        return -1;
    return store_commit(steal(transaction), &err);
}

static void device(const char *name, const char *id)
{
    struct device_row row = {.state = DEVICE_ROW_ATTACHED,
                             .name = (char *)name,
                             .image = "/i/base",
                             .format = "raw",
                             .top = "/i/base",
                             .top_format = "raw",
                             .labels = "{}",
                             .cluster_size_bytes = 65536};
    snprintf(row.id, sizeof(row.id), "6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a%s", id);
    assert_int_equal(commit_device(store_device_insert, &row), 0);
}

/* Inserts a group of the device, frozen from `backing`; its id ends in `id`. */
static int group(const char *id, const char *name, const char *backing, const char *snapshot)
{
    struct member_row member = {.device = (char *)name,
                                .backing_file = (char *)backing,
                                .backing_format = "raw",
                                .snapshot_file = (char *)snapshot,
                                .format = "qcow2"};
    struct group_row row = {
        .name = (char *)id, .labels = "{}", .member_count = 1, .members = &member};
    snprintf(row.id, sizeof(row.id), "11111111-8f0a-4c57-9b8e-2a0d6c2f7a%s", id);
    if (commit_group(store_group_insert, &row) != 0)
        return -1;
    assert_int_equal(commit_group(store_group_update_committing, &row), 0);
    return 0;
}

static void commit(const char *id)
{
    struct group_row row = {.state = GROUP_COMMITTED};
    snprintf(row.id, sizeof(row.id), "11111111-8f0a-4c57-9b8e-2a0d6c2f7a%s", id);
    assert_int_equal(commit_group(store_group_update_committed, &row), 0);
}

static void top_is(const char *name, const char *top)
{
    struct device_row row;
    assert_int_equal(store_device_get(store, name, &row, &err), 0);
    assert_string_equal(row.top, top);
    device_row_clear(&row);
}

static void next_group_waits(void **state)
{
    (void)state;
    device("a", "01");
    device("b", "02");
    assert_int_equal(group("11", "a", "/i/base", "/i/a1"), 0);
    assert_int_equal(group("12", "a", "/i/a1", "/i/a2"), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    assert_int_equal(group("13", "b", "/i/base", "/i/b1"), 0);
    commit("13");
    top_is("b", "/i/b1");
    top_is("a", "/i/base");
    commit("11");
    top_is("a", "/i/a1");
    assert_int_equal(group("12", "a", "/i/a1", "/i/a2"), 0);

    /* The device goes, and another of its name comes, while the row is still `committing`. */
    struct device_row row;
    assert_int_equal(store_device_get(store, "a", &row, &err), 0);
    assert_int_equal(commit_device(store_device_delete, &row), 0);
    device_row_clear(&row);
    device("a", "03");
    assert_int_equal(group("14", "a", "/i/base", "/i/a4"), 0);
    commit("14");
    top_is("a", "/i/a4");
    commit("12");
    top_is("a", "/i/a4");
}

int main(void)
{
    char path[64], command[64];
    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof(path), "%s/db", directory);
    store = store_open(path, &err);
    if (!store)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(next_group_waits)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_close(store);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) != 0 ? 1 : failed;
}
