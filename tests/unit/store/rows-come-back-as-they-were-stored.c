/* SPDX-License-Identifier: Apache-2.0
 *
 * Every field of a row of every table comes back as it was stored, each with a value that no other
 * field has; and so does NULL where a field may be unknown.
 */
#include "tests/lib/store-fixture.h"

#include "store/events.h"
#include "store/holds.h"
#include "store/idempotency.h"
#include "store/tokens.h"

static const struct fixture fixture = STORE_FIXTURE;

static void must_be_same_text(const char *field, const char *got, const char *wanted)
{
    if ((!got) != (!wanted) || (got && strcmp(got, wanted) != 0))
        fail_msg("%s is '%s', not '%s'", field, got ? got : "NULL", wanted ? wanted : "NULL");
}

/* For the fields that COMPARE is given, of the rows `got` and `wanted`. */
#define TEXT(field)        must_be_same_text(#field, got->field, wanted->field);
#define NUMBER(field)      assert_true(got->field == wanted->field);
#define KNOWN(flag, field) NUMBER(flag) if (wanted->flag) NUMBER(field)

static void must_be_same_device(const struct device_row *got, const struct device_row *wanted)
{
    TEXT(id)
    TEXT(name)
    TEXT(image)
    TEXT(image_identity)
    TEXT(directory_identity)
    TEXT(format)
    TEXT(top)
    TEXT(top_identity)
    TEXT(top_format)
    TEXT(labels)
    TEXT(allowed_clients)
    NUMBER(state)
    NUMBER(read_only)
    NUMBER(cluster_size_bytes)
    NUMBER(extended_l2)
    NUMBER(created_at_us)
    KNOWN(has_snapshot, last_snapshot_at_us)
}

static void device_must_come_back(const struct device_row *row)
{
    struct device_row got;
    assert_int_equal(STORE_CHANGE(store_device_insert, row), 0);
    store_restart();
    assert_int_equal(store_device_get(store, row->name, &got, &err), 0);
    must_be_same_device(&got, row);
    device_row_clear(&got);
}

TEST(devices_come_back)
{
    struct device_row row = {.state = DEVICE_ROW_CREATING,
                             .name = "vda",
                             .image = "/i/image",
                             .image_identity = "identity of the image",
                             .directory_identity = "identity of the directory",
                             .format = "raw",
                             .top = "/i/top",
                             .top_identity = "identity of the top",
                             .top_format = "qcow2",
                             .read_only = true,
                             .cluster_size_bytes = 2097152,
                             .labels = "{\"a\":\"\xc3\xa4\"}",
                             .allowed_clients = "[\"alice\"]",
                             .created_at_us = 1111111111111111,
                             .has_snapshot = true,
                             .last_snapshot_at_us = INT64_MAX};
    snprintf(row.id, sizeof(row.id), "%s", id_text(1));
    device_must_come_back(&row);

    struct device_row unknown = device_example("vdb", 2);
    unknown.state = DEVICE_ROW_DETACHING;
    unknown.extended_l2 = true;
    device_must_come_back(&unknown);
}

TEST(identities_of_devices_are_recorded_once_known)
{
    struct device_row row = device_example("vda", 1), got;
    row.image_identity = row.top_identity = "first";
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    row.state = DEVICE_ROW_DETACHING;
    row.image_identity = NULL; /* nothing new */
    row.top_identity = "second";
    assert_int_equal(STORE_CHANGE(store_device_update_state, &row), 0);
    assert_int_equal(store_device_get(store, "vda", &got, &err), 0);
    row.image_identity = "first";
    must_be_same_device(&got, &row);
    device_row_clear(&got);
}

static void must_be_same_member(const struct member_row *got, const struct member_row *wanted)
{
    TEXT(device)
    TEXT(device_id)
    TEXT(backing_file)
    TEXT(backing_format)
    TEXT(backing_identity)
    TEXT(base_file)
    TEXT(snapshot_file)
    TEXT(format)
    TEXT(directory_identity)
    TEXT(snapshot_identity)
    KNOWN(has_size, size_bytes)
    KNOWN(has_pause, pause_us)
    KNOWN(has_copy_wait, copy_wait_us)
    NUMBER(is_settled)
}

static void must_be_same_group(const struct group_row *got, const struct group_row *wanted)
{
    TEXT(id)
    TEXT(name)
    TEXT(labels)
    TEXT(selector)
    TEXT(holds)
    TEXT(rolled_back_to)
    NUMBER(kind)
    TEXT(request_hash)
    TEXT(error_message)
    NUMBER(state)
    NUMBER(created_at_us)
    KNOWN(has_cut, cut_at_us)
    KNOWN(has_cut, pause_us)
    KNOWN(has_sealed, sealed_us)
    KNOWN(has_duration, duration_us)
    KNOWN(has_error, error_code)
    KNOWN(has_error, error_errnum)
    KNOWN(has_error_member, error_member)
    NUMBER(member_count)
    for (size_t i = 0; i < wanted->member_count; i++)
        must_be_same_member(&got->members[i], &wanted->members[i]);
}

static void group_must_be(const struct group_row *row)
{
    struct group_row got;
    store_restart();
    assert_int_equal(store_group_get(store, row->id, &got, &err), 0);
    must_be_same_group(&got, row);
    group_row_clear(&got);
}

TEST(failed_groups_come_back)
{
    struct member_row members[] = {
        {.device = "vda",
         .backing_file = "/i/backing",
         .backing_format = "raw",
         .backing_identity = "identity of the backing file",
         .snapshot_file = "/i/snapshot",
         .format = "qcow2",
         .directory_identity = "identity of the directory",
         .snapshot_identity = "identity of the snapshot",
         .has_size = true,
         .size_bytes = 1ULL << 62,
         .has_pause = true,
         .pause_us = 1234567,
         .has_copy_wait = true,
         .copy_wait_us = 7654321,
         .is_settled = true},
        {.device = "vdb", .snapshot_file = "as asked", .format = "?"},
    };
    struct group_row row = {.state = GROUP_ABORTED,
                            .name = "failed",
                            .labels = "{\"l\":1}",
                            .selector = "{\"s\":2}",
                            .request_hash = "hash of the group's request",
                            .created_at_us = 22,
                            .has_cut = true,
                            .cut_at_us = 33,
                            .pause_us = 44,
                            .has_sealed = true,
                            .sealed_us = 45,
                            .has_duration = true,
                            .duration_us = 55,
                            .member_count = 2,
                            .members = members,
                            .has_error = true,
                            .error_code = ErrInvalidBlockFormat,
                            .error_errnum = 28,
                            .error_message = "no space",
                            .has_error_member = true,
                            .error_member = 1};
    snprintf(row.id, sizeof(row.id), "%s", id_text(1));
    device_must_insert("vda", 7);
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    char device_id[STORE_ID_CHARS + 1];
    snprintf(device_id, sizeof(device_id), "%s", id_text(7));
    members[0].device_id = device_id; /* recorded by the insert; there is no vdb */
    group_must_be(&row);
}

TEST(committed_groups_come_back)
{
    struct group_row row = group_example(1, "vda", "/i/vda", "/i/overlay");
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_be(&row); /* with all that is unknown */

    row.members[0].backing_identity = "backing";
    row.members[0].snapshot_identity = "snapshot";
    group_must_become(&row, GROUP_COMMITTING);
    row.state = GROUP_COMMITTING;
    group_must_be(&row);

    assert_string_equal(group_row_state_name(&row), "committing");
    row.has_cut = true;
    row.cut_at_us = 1;
    row.pause_us = 2;
    assert_int_equal(STORE_CHANGE(store_group_update_cut, &row), 0);
    group_must_be(&row);
    assert_string_equal(group_row_state_name(&row), "cut");
    row.members[0].is_settled = row.members[0].has_pause = row.members[0].has_copy_wait = true;
    row.members[0].pause_us = 4;
    row.members[0].copy_wait_us = 6;
    assert_int_equal(STORE_CHANGE(store_group_update_cut, &row), 0);
    group_must_be(&row);

    row.has_sealed = row.has_duration = true;
    row.duration_us = 3;
    row.sealed_us = 5;
    assert_int_equal(STORE_CHANGE(store_group_update_committed, &row), 0);
    row.state = GROUP_COMMITTED;
    group_must_be(&row);
}

/* Of a group that was changed since it was read, none is changed. */
TEST(holds_come_back_with_their_group)
{
    struct group_row row = group_example(1, "vda", "/i/vda", "/i/overlay"), other;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    other = group_example(2, "vda", "/i/vda", "/i/overlay2");
    assert_int_equal(STORE_CHANGE(store_group_insert, &other), 0);
    row = group_example(1, "vda", "/i/vda", "/i/overlay");
    static const struct {
        const char *name, *wanted;
    } steps[] = {{"b", "[\"b\"]"}, {"a", "[\"a\",\"b\"]"}, {"b", "[\"a\"]"}, {"a", NULL}};
    for (unsigned i = 0; i < 4; i++)
        for (uint64_t revision = i; revision <= i + 1; revision++) {
            row.revision = revision;
            struct store_transaction *transaction = store_begin(store, &err);
            int changed = i < 2 ? store_hold_insert(transaction, &row, steps[i].name, 1, &err)
                                : store_hold_delete(transaction, &row, steps[i].name, &err);
            assert_int_equal(changed, revision == i + 1);
            assert_int_equal(store_commit(transaction, &err), 0);
            row.holds = (char *)(uintptr_t)(steps[changed ? i : i ? i - 1 : 3].wanted);
            group_must_be(&row);
        }
    assert_int_equal(store_number("SELECT revision FROM groups ORDER BY id DESC"), 1);
}

/* The clients that the only member of the group with that id has. */
static void member_clients_must_be(unsigned id, const char *wanted)
{
    struct group_row got;
    assert_int_equal(store_group_get(store, id_text(id), &got, &err), 0);
    if (wanted)
        assert_string_equal(got.members[0].allowed_clients, wanted);
    else
        assert_null(got.members[0].allowed_clients);
    group_row_clear(&got);
}

TEST(members_have_the_clients_that_their_device_had_last)
{
    struct device_row first = device_example("vda", 7), second = device_example("vda", 8);
    struct group_row row = group_example(1, "vda", "/i/vda", "/i/overlay");
    first.allowed_clients = "[\"alice\"]";
    assert_int_equal(STORE_CHANGE(store_device_insert, &first), 0);
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    member_clients_must_be(1, "[\"alice\"]");
    first.revision = 1;
    first.allowed_clients = "[\"bob\"]";
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_device_update(transaction, &first, &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    member_clients_must_be(1, "[\"bob\"]");
    assert_int_equal(STORE_CHANGE(store_device_delete, &first), 0);
    member_clients_must_be(1, "[\"bob\"]");
    second.allowed_clients = "[\"carol\"]";
    assert_int_equal(STORE_CHANGE(store_device_insert, &second), 0);
    member_clients_must_be(1, "[\"bob\"]"); /* of another device of the name */
    assert_int_equal(STORE_CHANGE(store_device_delete, &second), 0);
    member_clients_must_be(1, "[\"bob\"]");
}

static void must_be_same_event(const struct event_row *got, const struct event_row *wanted){
    NUMBER(id) NUMBER(at_us) NUMBER(kind) TEXT(device) TEXT(group_id) TEXT(job) TEXT(actor)
        TEXT(request_id) TEXT(detail)}

TEST(events_come_back)
{
    struct event_row rows[EVENT_KIND_COUNT], *got;
    struct event_range range;
    size_t count;
    for (enum event_kind kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        rows[kind] = (struct event_row){
            .id = kind + 1, .at_us = 100 + kind, .kind = kind, .actor = "uid 0", .detail = "{}"};
        if (kind == 0) {
            rows[0].device = "vda";
            rows[0].group_id = "group";
            rows[0].job = "job";
            rows[0].request_id = "request";
            rows[0].detail = "{\"detail\":true}";
        }
        assert_int_equal(STORE_CHANGE(store_event_insert, &rows[kind]), 0);
    }
    store_restart();
    struct event_filter all = {.kind = EVENT_KIND_COUNT};
    assert_int_equal(store_event_list(store, &all, 100, &got, &count, &range, &err), 0);
    assert_int_equal(count, EVENT_KIND_COUNT);
    for (size_t i = 0; i < count; i++)
        must_be_same_event(&got[i], &rows[i]);
    event_rows_free(got, count);
}

static void must_be_same_token(const struct token_row *got, const struct token_row *wanted){
    TEXT(id) TEXT(name) TEXT(hash) NUMBER(scope) NUMBER(created_at_us)
        KNOWN(has_expiry, expires_at_us)}

TEST(tokens_come_back)
{
    struct token_row got,
        rows[] = {
            {.name = "a", .scope = SCOPE_READ, .hash = "first", .created_at_us = 1},
            {.name = "b", .scope = SCOPE_SNAPSHOT, .hash = "second", .created_at_us = 2},
            {.name = "c", .scope = SCOPE_ADMIN, .hash = "third", .created_at_us = 3},
        };
    rows[2].has_expiry = true;
    rows[2].expires_at_us = 4;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(rows[i].id, sizeof(rows[i].id), "%s", id_text(i));
        assert_int_equal(STORE_CHANGE(store_token_insert, &rows[i]), 0);
    }
    store_restart();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(store_token_get(store, rows[i].name, &got, &err), 0);
        must_be_same_token(&got, &rows[i]);
        token_row_clear(&got);
    }
}

static void key_must_be(const struct key_row *wanted)
{
    struct key_row row, *got = &row;
    store_restart();
    assert_int_equal(store_key_get(store, wanted->caller, wanted->key, 1, got, &err), 1);
    TEXT(caller)
    TEXT(key)
    TEXT(request_hash)
    TEXT(request_id)
    TEXT(resource_kind)
    TEXT(resource_id)
    TEXT(headers)
    TEXT(body)
    NUMBER(created_at_us)
    KNOWN(has_answer, status)
    key_row_clear(got);
}

TEST(keys_come_back)
{
    struct key_row row = {.caller = "uid 0",
                          .key = "the key",
                          .request_hash = "hash",
                          .request_id = "request",
                          .created_at_us = 1,
                          .resource_kind = "device",
                          .resource_id = "resource"};
    assert_int_equal(STORE_CHANGE(store_key_insert, &row), 0);
    key_must_be(&row);
    row.has_answer = true;
    row.status = 201;
    row.headers = "Location: /devices/vda";
    row.body = "{}";
    assert_int_equal(STORE_CHANGE(store_key_answer, &row), 0);
    key_must_be(&row);
}

TEST(texts_that_no_state_has_are_no_row)
{
    struct group_row group = group_example(1, "vda", "/i/vda", "/i/overlay");
    assert_int_equal(STORE_CHANGE(store_group_insert, &group), 0);
    store_sql("PRAGMA ignore_check_constraints = 1; UPDATE groups SET state = 'unheard of'");
    assert_int_equal(store_group_get(store, group.id, &group, &err), -1);
    assert_int_equal(err.code, ErrStoreFailed);
    assert_non_null(strstr(err.message, "groups"));
    assert_non_null(strstr(err.message, "state"));
    assert_false(store_is_failed(store)); /* changes go on */
}
