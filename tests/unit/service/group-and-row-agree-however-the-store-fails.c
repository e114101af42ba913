/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot_groups_take() against a store whose call number N = 1, 2, 3, ... fails, with its change
 * written or not, and that stays closed for a while; or that is only busy, or short of memory, just
 * then. Block layer and store are models that stand in for the libraries: the linker takes theirs
 * only for what is not defined here. Whatever fails, memory and row must agree:
 *
 *   - members are cut only if the row says committing or committed
 *   - overlays are removed only if the row does not say so, nor ever will
 *   - the row says aborted only once no overlay is left
 *   - while the row cannot be read after the point of no return, the devices stay held, neither way
 *   - a device is released, while other members hang, only once the store has its member as settled
 *   - nobody waits for a member under settle_lock
 *   - once the store opens again the row is final, and what the client was told holds: 201 means
 *     committed
 */
#include "block/frozen.h"
#include "block/overlay.h"
#include "tests/lib/testlib.h"

#include "service/context.h"
#include "service/events.h"
#include "service/group-settlement.h"
#include "service/leftovers.h"
#include "service/metrics.h"
#include "service/snapshot-groups.h"
#include "service/unsettled.h"
#include "store/events.h"
#include "store/frozen-files.h"
#include "store/idempotency.h"

#include <string.h>

/* ---- memory that ends ---- */

static bool memory_will_be_short, memory_is_short; /* from the cut on; now */

/* Sanitizers have a calloc of their own; what is shown here does not depend on them. */
#if !TEST_SANITIZED
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_malloc(size_t bytes);
void *calloc(size_t count, size_t bytes)
{
    return memory_is_short ? NULL : __libc_calloc(count, bytes);
}

void *malloc(size_t bytes)
{
    return memory_is_short ? NULL : __libc_malloc(bytes);
}
#endif

/* ---- the store's model: one row ---- */

static struct {
    bool failed;             /* calls are refused */
    int reopen_fails;        /* so often */
    int calls;               /* made so far, refused ones not counted */
    int fail_at;             /* that call fails ... */
    bool fail_applied;       /* ... and its change is written all the same */
    enum err_code fail_code; /* all but StoreFailed leave the store open, with nothing changed */
    bool exists;
    enum group_state state;
    char id[STORE_ID_CHARS + 1];
    bool is_cut, is_settled[2];
    bool is_open; /* a transaction, which makes the row this one: */
    enum group_state new_state;
    bool new_is_cut, new_is_settled[2];
} row;

/* Whether the call goes on; *apply says if its change is to be made. */
static bool store_call(bool *apply, struct err *err)
{
    *apply = false;
    if (row.failed) {
        err_set(err, ErrStoreFailed, 0, "the store is closed");
        return false;
    }
    *apply = true;
    if (++row.calls != row.fail_at)
        return true;
    *apply = row.fail_applied;
    row.failed = row.fail_code == ErrStoreFailed;
    err_set(err, row.fail_code, 0, "the disk is gone");
    return false;
}

struct store_transaction *store_begin(struct store *store, struct err *err)
{
    (void)store;
    bool apply;
    assert_false(row.is_open);
    row.is_open = store_call(&apply, err);
    row.new_state = row.state;
    row.new_is_cut = row.is_cut;
    memcpy(row.new_is_settled, row.is_settled, sizeof(row.is_settled));
    return row.is_open ? (struct store_transaction *)&row : NULL;
}

int store_commit(struct store_transaction *transaction, struct err *err)
{
    bool apply, good = store_call(&apply, err);
    assert_true(row.is_open && transaction);
    row.is_open = false;
    if (apply) {
        row.exists = true;
        row.state = row.new_state;
        row.is_cut = row.new_is_cut;
        memcpy(row.is_settled, row.new_is_settled, sizeof(row.is_settled));
    }
    return good ? 0 : -1;
}

void store_rollback(struct store_transaction *transaction)
{
    assert_true(row.is_open && transaction);
    row.is_open = false;
}

/* A query of the open transaction: whether it succeeds. */
static bool store_query(struct err *err)
{
    bool apply;
    assert_true(row.is_open);
    return store_call(&apply, err);
}

static int store_change(enum group_state from, enum group_state to, struct err *err)
{
    if (!store_query(err))
        return -1;
    assert_true(row.exists);
    assert_int_equal(row.new_state, from);
    row.new_state = to;
    return 0;
}

int store_group_insert(struct store_transaction *transaction, const struct group_row *new,
                       struct err *err)
{
    (void)transaction;
    if (!store_query(err))
        return -1;
    row.new_state = new->state;
    memcpy(row.id, new->id, sizeof(row.id));
    return 0;
}

/* Each change is recorded by whoever asked for it. */
int store_event_insert(struct store_transaction *transaction, const struct event_row *event,
                       struct err *err)
{
    (void)transaction;
    bool apply;
    assert_true(row.is_open);
    assert_string_equal(event->actor, "uid 7");
    assert_string_equal(event->request_id, "r-1");
    assert_string_equal(event->group_id, row.id);
    assert_int_equal(event->kind, row.new_state == GROUP_PREPARING    ? EVENT_GROUP_PREPARING
                                  : row.new_state == GROUP_COMMITTING ? EVENT_GROUP_CUT
                                  : row.new_state == GROUP_COMMITTED  ? EVENT_GROUP_COMMITTED
                                                                      : EVENT_GROUP_ABORTED);
    return store_call(&apply, err) ? 0 : -1;
}

/* No member here grows. */
int store_event_insert_grown(struct store_transaction *transaction, const struct event_row *event,
                             struct err *err)
{
    (void)transaction, (void)event, (void)err;
    return 0;
}

/* Keys: the requests here have none. */
int store_key_get(struct store *store, const char *caller, const char *key, uint64_t now_us,
                  struct key_row *found, struct err *err)
{
    (void)store, (void)caller, (void)key, (void)now_us, (void)found;
    return err_set(err, ErrInternalError, 0, "no key here");
}

int store_key_insert(struct store_transaction *transaction, const struct key_row *new,
                     struct err *err)
{
    (void)transaction, (void)new;
    return err_set(err, ErrInternalError, 0, "no key here");
}

int store_key_answer(struct store_transaction *transaction, const struct key_row *new,
                     struct err *err)
{
    (void)transaction, (void)new;
    return err_set(err, ErrInternalError, 0, "no key here");
}

void key_row_clear(struct key_row *gone)
{
    (void)gone;
}

int store_group_get(struct store *store, const char *id, struct group_row *now, struct err *err)
{
    (void)store;
    bool apply;
    if (!store_call(&apply, err))
        return -1;
    if (!row.exists || strcmp(id, row.id) != 0)
        return err_set(err, ErrGroupNotFound, 0, "there is none");
    *now = (struct group_row){.state = row.state, .has_cut = row.is_cut};
    return 0;
}

int store_group_update_committing(struct store_transaction *transaction,
                                  const struct group_row *new, struct err *err)
{
    (void)transaction;
    assert_string_equal(new->id, row.id);
    return store_change(GROUP_PREPARING, GROUP_COMMITTING, err);
}

int store_group_update_cut(struct store_transaction *transaction, const struct group_row *new,
                           struct err *err)
{
    (void)transaction;
    assert_true(new->has_cut);
    assert_int_equal(new->member_count, 2);
    if (store_change(GROUP_COMMITTING, GROUP_COMMITTING, err) != 0)
        return -1;
    row.new_is_cut = true;
    for (size_t i = 0; i < 2; i++)
        row.new_is_settled[i] |= new->members[i].is_settled;
    return 0;
}

int store_group_update_committed(struct store_transaction *transaction, const struct group_row *new,
                                 struct err *err)
{
    (void)transaction;
    assert_true(new->has_cut &&new->has_duration);
    assert_int_equal(new->member_count, 2);
    assert_int_equal(new->sealed_us, 33);
    assert_int_equal(new->members[1].copy_wait_us, 22);
    assert_true(new->members[0].is_settled &&new->members[1].is_settled);
    return store_change(GROUP_COMMITTING, GROUP_COMMITTED, err);
}

int store_group_update_aborting(struct store_transaction *transaction, const struct group_row *new,
                                struct err *err)
{
    (void)transaction;
    assert_true(new->has_error);
    return store_change(GROUP_PREPARING, GROUP_ABORTING, err);
}

int store_group_update_aborted(struct store_transaction *transaction, const struct group_row *new,
                               struct err *err)
{
    (void)transaction;
    assert_true(new->has_error);
    return store_change(GROUP_ABORTING, GROUP_ABORTED, err);
}

bool store_is_failed(struct store *store)
{
    (void)store;
    return row.failed;
}

int store_reopen(struct store *store, struct err *err)
{
    (void)store;
    if (row.reopen_fails > 0) {
        row.reopen_fails--;
        return err_set(err, ErrStoreFailed, 0, "still gone");
    }
    row.failed = false;
    return 0;
}

int store_group_list(struct store *store, const struct group_list_filter *filter, uint64_t before,
                     size_t limit, struct group_row **rows, size_t *count, uint64_t *next,
                     struct err *err)
{
    (void)store, (void)filter, (void)before, (void)limit, (void)rows, (void)count, (void)next;
    return err_set(err, ErrStoreFailed, 0, "not modelled");
}

void group_row_clear(struct group_row *gone)
{
    for (size_t i = 0; i < gone->member_count; i++) {
        free(gone->members[i].device);
        free(gone->members[i].backing_file);
        free(gone->members[i].backing_format);
        free(gone->members[i].snapshot_file);
        free(gone->members[i].format);
        free(gone->members[i].backing_identity);
        free(gone->members[i].snapshot_identity);
        free(gone->members[i].directory_identity);
    }
    for (size_t i = 0; i < gone->frozen_count; i++) {
        free(gone->frozen[i].identity);
        free(gone->frozen[i].path);
    }
    free(gone->frozen);
    free(gone->members);
    free(gone->name);
    free(gone->labels);
    free(gone->request_hash);
    free(gone->error_message);
    *gone = (struct group_row){0};
}

bool group_row_is_cut(const struct group_row *shown)
{
    return shown->state == GROUP_COMMITTING && shown->has_cut;
}

const char *group_state_name(enum group_state state)
{
    (void)state;
    return "state";
}

/* ---- the block layer's model: one group ---- */

static struct {
    bool prepare_fails;
    bool begun, prepared, cut, finishing, aborted, freed;
    bool frozen[2], released[2];
    int published, awaited;
} memory;

/* How the members are frozen: both at once; the second first, and the first one later; and so that
 * the daemon ends before. */
static enum { AT_ONCE, ONE_BY_ONE, NEVER } freezing;
static struct service *asked; /* who awaits members has not its settle_lock */

struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err)
{
    (void)block, (void)id, (void)members, (void)failed_member, (void)err;
    assert_int_equal(count, 2);
    memory.begun = true;
    return (struct group *)&memory;
}

int group_plan(struct block *block, const struct group_member *members, size_t count,
               int (*each)(void *, size_t, const struct group_member_info *, struct err *),
               void *context, size_t *failed_member, struct err *err)
{
    (void)block, (void)members, (void)count, (void)each, (void)context, (void)failed_member;
    (void)err;
    fail_msg("a group is taken, not planned");
    return -1;
}

int group_prepare(struct group *group, size_t *failed_member, struct err *err)
{
    (void)group;
    assert_true(row.exists && row.state == GROUP_PREPARING);
    memory.prepared = true;
    *failed_member = 1;
    return memory.prepare_fails ? err_set(err, ErrOpenFileFailed, 0, "no") : 0;
}

void group_cut(struct group *group, uint64_t *cut_at_us)
{
    (void)group;
    assert_true(memory.prepared && !memory.cut && !memory.aborted && !memory.freed);
    assert_int_equal(row.state, GROUP_COMMITTING);
    memory.cut = true;
    memory_is_short = memory_will_be_short;
    *cut_at_us = 1000;
}

void group_finish_begin(struct group *group)
{
    (void)group;
    assert_true(memory.cut && !memory.finishing);
    memory.finishing = true;
}

/* At first nothing is frozen, then the second member, then the first one. */
enum group_finish group_finish_await(struct group *group, size_t count, uint64_t timeout_ms)
{
    (void)group, (void)timeout_ms;
    assert_true(memory.finishing && !memory.freed && count > 0);
    assert_int_equal(pthread_mutex_lock(&asked->settle_lock), 0); /* or EDEADLK */
    pthread_mutex_unlock(&asked->settle_lock);
    int round = memory.awaited++;
    if (freezing == NEVER && round == 2)
        return GROUP_FINISH_STOPPED;
    memory.frozen[1] = freezing == AT_ONCE || round >= 1;
    memory.frozen[0] = freezing == AT_ONCE || round >= 3;
    return memory.frozen[0] ? GROUP_FINISH_DONE : GROUP_FINISH_PENDING;
}

uint64_t group_sealed_us(const struct group *group)
{
    (void)group;
    assert_true(memory.frozen[0] && memory.frozen[1]);
    return 33;
}

void group_announce_release(struct group *group, size_t position, bool is_announced)
{
    (void)group, (void)is_announced;
    assert_true(memory.frozen[position] && !memory.released[position] && !memory.freed);
}

void group_release_member(struct group *group, size_t position)
{
    (void)group;
    assert_true(memory.frozen[position] && !memory.released[position] && !memory.freed);
    assert_true(row.is_settled[position]);
    memory.released[position] = true;
}

void group_member_wait(struct group *group, size_t position, struct group_member_wait *wait)
{
    (void)group, (void)position, (void)wait;
    fail_msg("nobody asks");
}

static bool overlay_stays; /* it cannot be removed */

int group_abort(struct group *group, struct err *err)
{
    (void)group;
    assert_true(!memory.cut && !memory.aborted && !memory.freed);
    assert_true(!row.exists || row.state == GROUP_PREPARING || row.state == GROUP_ABORTING);
    memory.aborted = true;
    return overlay_stays ? err_set(err, ErrOpenFileFailed, 0, "its storage is away") : 0;
}

void group_member_info(struct group *group, size_t position, struct group_member_info *info)
{
    (void)group;
    *info = (struct group_member_info){.backing_file = "/i/a",
                                       .backing_format = "raw",
                                       .backing_identity = "1-2-3",
                                       .snapshot_file = "/i/b",
                                       .snapshot_identity = "4-5-6",
                                       .directory_identity = "7-8-9",
                                       .copy_wait_us = position ? 22 : 11,
                                       .is_frozen =
                                           memory.frozen[position] && !memory.released[position],
                                       .is_released = memory.released[position]};
}

void group_free(struct group *group)
{
    (void)group;
    assert_true((memory.frozen[0] || memory.aborted || freezing == NEVER) && !memory.freed);
    memory.freed = true;
}

int block_frozen_add(struct block *block, const char *device, const char *group_name,
                     const char *group_id, const char *image, const char *identity,
                     const char *format, const struct frozen_owner *owner, struct err *err)
{
    (void)owner;
    (void)block, (void)device, (void)group_name, (void)group_id, (void)image, (void)format;
    (void)identity;
    (void)err;
    assert_true(memory.cut);
    memory.published++;
    return 0;
}

/* Of the start, which is not tested here. */
int store_frozen_file_list(struct store *store, const char *after, size_t limit,
                           struct frozen_file_row **rows, size_t *count, struct err *err)
{
    (void)store, (void)after, (void)limit, (void)rows, (void)count;
    return err_set(err, ErrInternalError, 0, "no start here");
}

int store_frozen_file_insert(struct store_transaction *transaction,
                             const struct frozen_file_row *rows, size_t count, struct err *err)
{
    (void)transaction, (void)rows, (void)count;
    return err_set(err, ErrInternalError, 0, "no start here");
}

void frozen_file_rows_free(struct frozen_file_row *rows, size_t count)
{
    (void)count;
    free(rows);
}

int block_frozen_file_add(struct block *block, const char *identity, const char *path,
                          struct err *err)
{
    (void)block, (void)identity, (void)path;
    return err_set(err, ErrInternalError, 0, "no start here");
}

int block_chain_files(struct block *block, const char *image, const char *format,
                      struct frozen_file **files, size_t *count, struct err *err)
{
    (void)block, (void)image, (void)format, (void)files, (void)count;
    return err_set(err, ErrInternalError, 0, "no start here");
}

void frozen_files_free(struct frozen_file *files, size_t count)
{
    (void)count;
    free(files);
}

int block_directory_identity(struct block *block, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err)
{
    (void)block, (void)path, (void)err;
    strcpy(identity, "7-8-9");
    return 0;
}

int block_overlay_discard_unused(struct block *block, const char *path, const char *directory,
                                 const char *format, const unsigned char id[OWNER_ID_BYTES],
                                 struct err *err)
{
    (void)block, (void)path, (void)directory, (void)format, (void)id;
    return err_set(err, ErrInternalError, 0, "no start here");
}

int block_image_sync(struct block *block, const char *path, struct err *err)
{
    (void)block, (void)path;
    return err_set(err, ErrInternalError, 0, "no start here");
}

int block_image_keep(struct block *block, const char *path, const unsigned char id[OWNER_ID_BYTES],
                     struct err *err)
{
    (void)block, (void)path, (void)id;
    return err_set(err, ErrInternalError, 0, "no start here");
}

char *block_resolve(struct block *block, const char *path, struct err *err)
{
    (void)block, (void)path, (void)err;
    return NULL;
}

char *block_resolve_new(struct block *block, const char *path, bool *is_taken, struct err *err)
{
    (void)block, (void)path, (void)is_taken, (void)err;
    return NULL;
}

/* ---- the test ---- */

static void check_agreement(int result)
{
    if (!memory.begun) {
        assert_int_equal(result, -1);
        assert_false(row.exists);
        return;
    }
    assert_true(memory.freed);
    assert_true(memory.cut != memory.aborted);
    if (memory.cut && freezing == NEVER) {
        assert_int_equal(result, -1);
        assert_int_equal(row.state, GROUP_COMMITTING);
        assert_in_range(memory.published, 0, 1);
    } else if (memory.cut) {
        assert_int_equal(row.state, GROUP_COMMITTED);
        assert_int_equal(memory.published, 2);
    } else {
        assert_int_equal(result, -1);
        assert_true(!row.exists || row.state == (overlay_stays ? GROUP_ABORTING : GROUP_ABORTED));
    }
}

static struct metrics *metrics;
static const struct origin origin = {.actor = "uid 7", .request_id = "r-1"};

/* Until nothing is left to do, by whatever thread. */
static void service_settle(struct service *service)
{
    struct err err;
    do {
        assert_int_equal(unsettled_resolve(service, &err), 0);
        settlements_close(service);
    } while (service->unsettled);
    leftovers_close(service); /* which retried nothing: the service is not ready */
}

static const struct group_member both[] = {{.device = "a"}, {.device = "b"}};
static const struct snapshot_group_request attempt = {
    .name = "g", .labels = "{}", .origin = &origin, .count = 2, .members = both};

static void attempt_prepare(struct service *service)
{
    memset(&row, 0, sizeof(row));
    memset(&memory, 0, sizeof(memory));
    asked = service;
}

/* Runs one attempt. False once the failing call comes no more. */
static bool take_once(int fail_at, enum err_code code, bool applied, int reopen_fails,
                      bool prepare_fails)
{
    struct service service = {.settle_lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
                              .metrics = metrics};
    struct group_row result_row;
    struct err err;
    attempt_prepare(&service);
    row.fail_at = fail_at;
    row.fail_applied = applied;
    row.fail_code = code;
    row.reopen_fails = reopen_fails;
    memory.prepare_fails = prepare_fails;

    int result = snapshot_groups_take(&service, &attempt, NULL, &result_row, &err);
    bool failed = row.calls >= fail_at;
    memory_is_short = false;
    if (result == 0) {
        assert_int_equal(result_row.state, GROUP_COMMITTED);
        assert_false(result_row.has_error);
        assert_true(memory.cut && memory.freed);
    }
    if (row.exists && row.state == GROUP_COMMITTING && !memory.cut)
        assert_true(!memory.aborted && !memory.freed);
    group_row_clear(&result_row);

    row.fail_at = 0;
    row.reopen_fails = 0;
    service_settle(&service);
    check_agreement(result);
    return failed;
}

static int metrics_begin(void **state)
{
    struct err err;
    (void)state;
    metrics = metrics_new(&err);
    return metrics ? 0 : -1;
}

static int metrics_end(void **state)
{
    (void)state;
    metrics_free(metrics);
    return 0;
}

static const struct fixture fixture = {.begin_all = metrics_begin, .end_all = metrics_end};

TEST(group_and_row_agree)
{
    for (int variant = 0; variant < 2 * 4 * 2; variant++) {
        bool applied = variant & 1, prepare_fails = variant & 2;
        int n = 1;
        while (take_once(n, ErrStoreFailed, applied, variant / 4, prepare_fails))
            n++;
        assert_in_range(n, overlay_stays ? 8 : 11, 30);
    }
}

TEST(group_and_row_agree_while_a_member_hangs)
{
    freezing = ONE_BY_ONE;
    group_and_row_agree(state);
    freezing = NEVER;
    group_and_row_agree(state);
    freezing = AT_ONCE;
}

/* Until every overlay is removed the row says `aborting`, whatever the store does. */
TEST(row_is_aborted_only_without_overlays)
{
    overlay_stays = true;
    group_and_row_agree(state);
    overlay_stays = false;
}

/* Neither is an answer: nothing that was to be done is taken for done, or for not there. */
TEST(shortages_are_no_answer)
{
    static const enum err_code codes[] = {ErrStoreBusy, ErrOutOfResources};
    for (int variant = 0; variant < 2 * 2; variant++) {
        int n = 1;
        while (take_once(n, codes[variant / 2], false, 0, variant & 1))
            n++;
        assert_in_range(n, 11, 20);
    }
}

/* The store fails with one of its three calls after the cut, looks busy or short of memory once
 * it is open, and there is no memory from the cut on. */
TEST(nothing_is_allocated_after_the_cut)
{
    memory_will_be_short = true;
    for (int variant = 0; variant < 3 * 4; variant++)
        take_once(8 + variant / 4, ErrStoreFailed, variant & 1, variant & 2, false);
    memory_will_be_short = false;
}

/* The store stays closed: everything waits, and a second failure while settling changes nothing. */
TEST(second_failure_is_survived)
{
    static const enum err_code codes[] = {ErrStoreFailed, ErrStoreBusy, ErrOutOfResources};
    for (int variant = 0; variant < 3 * 8; variant++) {
        int second = 1 + variant % 8;
        struct service service = {.settle_lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
                                  .metrics = metrics};
        struct group_row result_row;
        struct err err;
        attempt_prepare(&service);
        freezing = variant % 3 ? AT_ONCE : ONE_BY_ONE;
        row.fail_at = 7; /* the name, three calls for the row, three for `committing` */
        row.fail_code = ErrStoreFailed;
        row.fail_applied = true;
        row.reopen_fails = 5;
        assert_int_equal(snapshot_groups_take(&service, &attempt, NULL, &result_row, &err), -1);
        assert_int_equal(err.code, ErrStoreFailed);
        assert_true(!memory.cut && !memory.aborted && !memory.freed);
        group_row_clear(&result_row);

        assert_int_equal(unsettled_resolve(&service, &err), -1);
        assert_false(memory.cut);
        row.reopen_fails = 0;
        row.fail_at = row.calls + second;
        row.fail_code = codes[variant / 8];
        row.fail_applied = row.fail_code == ErrStoreFailed;
        while (unsettled_resolve(&service, &err) != 0)
            assert_int_equal(err.code, row.fail_code);
        service_settle(&service);
        check_agreement(-1);
    }
    freezing = AT_ONCE;
}
