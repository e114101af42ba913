/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening, the schema, failing and reopening, transactions. See store.h and access.h.
 *
 *   store:        open --a change fails--> failed (every call refused) --store_reopen--> open
 *
 *   transaction:  CLOSED --store_begin--> OPEN --a query fails--> REFUSED
 *                    ^                     |                        |
 *                    +--- store_commit, store_rollback -------------+  (REFUSED: rolled back)
 *
 * WAL with synchronous=FULL: a commit that returned has been synced. One process per database: an
 * exclusive lock on "PATH.lock" is held from store_open to store_close, across store_reopen.
 */
#include "store/store.h"

#include "store/access.h"
#include "store/idempotency.h"
#include "store/log-room.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>

extern const char store_schema_1[], store_schema_2[], store_schema_3[], store_schema_4[],
    store_schema_5[], store_schema_6[];

static const char *const schemas[] = {store_schema_1, store_schema_2, store_schema_3,
                                      store_schema_4, store_schema_5, store_schema_6};
enum {
    SCHEMA_VERSION = sizeof(schemas) / sizeof(schemas[0]),
    APPLICATION_ID = 0x534e4150, /* "SNAP" */
};

/* ---- transactions ---- */

static void transaction_assert_state(const struct store_transaction *transaction)
{
    const struct connection *writer = transaction->writer;
    (void)writer;
    switch (transaction->state) {
    case TRANSACTION_CLOSED: /* unless the end of the last one failed */
        assert(writer->has_failed || sqlite3_get_autocommit(writer->db));
        break;
    case TRANSACTION_OPEN:
        assert(!sqlite3_get_autocommit(writer->db));
        break;
    case TRANSACTION_REFUSED: /* SQLite may have rolled back by itself */
        break;
    }
}

/* Opens the transaction. The caller holds the writer's lock, as for the two below. */
static int transaction_open_locked(struct store_transaction *transaction, struct err *err)
{
    struct connection *writer = transaction->writer;
    assert(transaction->state == TRANSACTION_CLOSED);
    CLEANUP(statement) sqlite3_stmt *begin = statement_begin(writer, "BEGIN IMMEDIATE", err);
    if (!begin || statement_step(writer, begin, ErrInternalError, "", err) < 0)
        return -1;
    transaction->state = TRANSACTION_OPEN;
    transaction_assert_state(transaction);
    return 0;
}

static void transaction_roll_back_locked(struct store_transaction *transaction)
{
    struct connection *writer = transaction->writer;
    transaction_assert_state(transaction);
    if (!sqlite3_get_autocommit(writer->db) &&
        sqlite3_exec(writer->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        writer->has_failed = true;
    transaction->state = TRANSACTION_CLOSED;
    transaction_assert_state(transaction);
}

static int transaction_commit_locked(struct store_transaction *transaction, struct err *err)
{
    transaction_assert_state(transaction);
    if (transaction->state == TRANSACTION_REFUSED)
        err_set(err, ErrInternalError, 0,
                "a query of this transaction failed, which is rolled back");
    else if (connection_execute(transaction->writer, "COMMIT", err) == 0) {
        transaction->state = TRANSACTION_CLOSED;
        transaction_assert_state(transaction);
        return 0;
    }
    transaction->state = TRANSACTION_REFUSED;
    transaction_roll_back_locked(transaction);
    return -1;
}

/* SQLite calls this for each row that a statement changes. */
static void transaction_note_change(void *context, int operation, const char *database,
                                    const char *table, sqlite3_int64 rowid)
{
    struct store_transaction *transaction = context;
    (void)operation;
    (void)database;
    (void)rowid;
    /* A device shows who needs its images. */
    if (strcmp(table, "devices") == 0 || strcmp(table, "groups") == 0 ||
        strcmp(table, "images") == 0)
        transaction->changes_devices = true;
}

/* After a transaction, whose outcome may be unknown. */
static void transaction_tell_locked(struct store_transaction *transaction)
{
    if (transaction->changes_devices)
        atomic_fetch_add(&transaction->devices_generation, 1);
    transaction->changes_devices = false;
    if (!transaction->has_events)
        return;
    transaction->has_events = false;
    LOCK_GUARD(&transaction->listener_lock);
    if (transaction->listener_fd > 0)
        eventfd_write(transaction->listener_fd - 1, 1); /* a full counter wakes, too */
}

struct store_transaction *store_begin(struct store *store, struct err *err)
{
    if (pthread_mutex_lock(&store->writer.lock) == EDEADLK) {
        err_set(err, ErrInternalError, 0, "a transaction is open already");
        return NULL;
    }
    if (store_check(store, err) == 0 && transaction_open_locked(&store->transaction, err) == 0)
        return &store->transaction;
    pthread_mutex_unlock(&store->writer.lock);
    return NULL;
}

int store_commit(struct store_transaction *transaction, struct err *err)
{
    int result = transaction_commit_locked(transaction, err);
    if (result == 0)
        log_room_make(transaction->writer);
    transaction_tell_locked(transaction);
    pthread_mutex_unlock(&transaction->writer->lock);
    return result;
}

void store_rollback(struct store_transaction *transaction)
{
    transaction_roll_back_locked(transaction);
    transaction->has_events = false;
    transaction_tell_locked(transaction);
    pthread_mutex_unlock(&transaction->writer->lock);
}

/* ---- opening ---- */

static int schema_version(struct connection *writer, int *version, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(writer, "PRAGMA user_version", err);
    if (!statement)
        return -1;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return connection_fail(writer, err);
    *version = sqlite3_column_int(statement, 0);
    return 0;
}

/* Applies a schema file together with its version. */
static int schema_apply(struct store_transaction *transaction, int version, struct err *err)
{
    char stamp[96];
    snprintf(stamp, sizeof(stamp), "PRAGMA user_version = %d; PRAGMA application_id = %d", version,
             APPLICATION_ID);
    if (transaction_open_locked(transaction, err) != 0)
        return -1;
    if (connection_execute(transaction->writer, schemas[version - 1], err) == 0 &&
        connection_execute(transaction->writer, stamp, err) == 0)
        return transaction_commit_locked(transaction, err);
    transaction->state = TRANSACTION_REFUSED;
    transaction_roll_back_locked(transaction);
    return -1;
}

/* Applies the schema files that are missing. */
static int store_upgrade(struct store *store, struct err *err)
{
    int version = 0;
    if (schema_version(&store->writer, &version, err) != 0)
        return -1;
    if (version > SCHEMA_VERSION)
        return err_set(err, ErrStoreFailed, 0,
                       "database '%s' has schema %d, newer than this program's %d; use a newer "
                       "snapgroupd",
                       store->file.path, version, SCHEMA_VERSION);
    while (version < SCHEMA_VERSION)
        if (schema_apply(&store->transaction, ++version, err) != 0)
            return -1;
    return 0;
}

/* Makes the names of a new database and its WAL durable. */
static int store_sync_directory(const struct store *store, struct err *err)
{
    CLEANUP_FREE char *copy = strdup(store->file.path);
    if (!copy)
        return store_out_of_memory(err);
    CLEANUP_CLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_set(err, ErrStoreFailed, errno, "the directory of '%s' cannot be synced",
                       store->file.path);
    return 0;
}

/* Opens the writer; its lock is held, or nobody else knows the store yet. */
static int store_connect(struct store *store, bool may_create, struct err *err)
{
    struct connection *writer = &store->writer;
    int flags = SQLITE_OPEN_READWRITE | (may_create ? SQLITE_OPEN_CREATE : 0);
    if (connection_open(writer, flags, err) != 0 ||
        database_file_check_application(writer, APPLICATION_ID, err) != 0 ||
        database_file_check_id(&store->file, writer, err) != 0 ||
        connection_execute(writer,
                           "PRAGMA journal_mode = WAL;"
                           "PRAGMA synchronous = FULL;",
                           err) != 0)
        return -1;
    sqlite3_update_hook(writer->db, transaction_note_change, &store->transaction);
    /* Perhaps, by a change whose outcome was unknown. */
    store->transaction.changes_devices = store->transaction.has_events = true;
    transaction_tell_locked(&store->transaction);
    /* Not before: a table that is made anew would take the rows of others with it. */
    return store_upgrade(store, err) != 0
               ? -1
               : connection_execute(writer, "PRAGMA foreign_keys = ON", err);
}

static int store_lock_file(struct store *store, struct err *err)
{
    const char *database = store->file.path;
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s.lock", database) < 0) {
        path = NULL;
        return store_out_of_memory(err);
    }
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return err_set(err, ErrStoreFailed, errno, "'%s' cannot be opened", path);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ErrStoreFailed, 0, "database '%s' is in use by another snapgroupd",
                       database);
    return err_set(err, ErrStoreFailed, errno, "'%s' cannot be locked", path);
}

/* A store with nothing open. */
static struct store *store_new(const char *path)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store || !(store->file.path = strdup(path))) {
        free(store);
        return NULL;
    }
    store->lock_fd = -1;
    store->writer.path = store->reader.path = store->file.path;
    store->reader.other = &store->writer;
    store->transaction.writer = &store->writer;
    store_keys_keep(store, STORE_KEYS_SECONDS);
    pthread_mutex_init(&store->reader.lock, NULL);
    pthread_mutex_init(&store->transaction.listener_lock, NULL);
    pthread_mutexattr_t
        attributes; /* a transaction within a transaction is found, not waited for */
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&store->writer.lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return store;
}

struct store *store_open(const char *path, struct err *err)
{
    struct store *store = store_new(path);
    if (!store) {
        store_out_of_memory(err);
        return NULL;
    }
    bool may_create;
    database_file_prepare_directory(&store->file);
    if (store_lock_file(store, err) == 0 &&
        database_file_may_be_created(&store->file, &may_create, err) == 0 &&
        store_connect(store, may_create, err) == 0 &&
        database_file_record_id(&store->file, &store->writer, err) == 0 &&
        store_sync_directory(store, err) == 0)
        return store;
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    assert(store->transaction.state == TRANSACTION_CLOSED);
    connection_close(&store->reader);
    connection_close(&store->writer);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_mutex_destroy(&store->reader.lock);
    pthread_mutex_destroy(&store->transaction.listener_lock);
    pthread_mutex_destroy(&store->writer.lock);
    free(store->file.path);
    free(store);
}

int store_reopen(struct store *store, struct err *err)
{
    LOCK_GUARD(&store->writer.lock);
    assert(store->transaction.state == TRANSACTION_CLOSED);
    if (database_file_check_place(&store->file, err) != 0)
        return -1;
    /* Both are closed: the first one to open decides the fate of the change that failed. */
    LOCK_GUARD(&store->reader.lock);
    connection_close(&store->reader);
    connection_close(&store->writer);
    if (store_connect(store, false, err) == 0 && database_file_check_place(&store->file, err) == 0)
        return 0;
    store->writer.has_failed = true;
    return -1;
}

bool store_is_failed(struct store *store)
{
    return store->writer.has_failed;
}
