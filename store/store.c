/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection: opening, the schema, failing and reopening. See store.h.
 *
 *   open --store_fail--> failed (every call refused) --store_reopen--> open
 *
 * Queries have a read-only connection of their own (store_enter_reader), which waits for no change. What fails
 * there fails that call only, and the next one opens it again.
 *
 * WAL with synchronous=FULL: a commit that returned has been synced. One process per database: an
 * exclusive lock on "PATH.lock" is held from store_open to store_close, across store_reopen.
 */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

extern const char store_schema_1[], store_schema_2[], store_schema_3[], store_schema_4[];

static const char *const schemas[] = {store_schema_1, store_schema_2, store_schema_3,
                                      store_schema_4};
enum {
    SCHEMA_VERSION = sizeof(schemas) / sizeof(schemas[0]),
    APPLICATION_ID = 0x534e4150, /* "SNAP" */
    BUSY_TIMEOUT_MS = 5000,
};

int store_out_of_memory(struct err *err)
{
    return err_set(err, ErrOutOfResources, ENOMEM, "the store cannot answer");
}

int store_fail(struct store *store, struct err *err)
{
    store->has_failed = true;
    int errnum = sqlite3_system_errno(store->db);
    if (sqlite3_errcode(store->db) == SQLITE_FULL && !errnum)
        errnum = ENOSPC;
    return err_set(err, ErrStoreFailed, errnum, "database '%s': %s", store->path,
                   sqlite3_errmsg(store->db));
}

static int store_refuse(const struct store *store, struct err *err)
{
    return err_set(err, ErrStoreFailed, 0, "database '%s' failed and is not open again yet",
                   store->path);
}

struct store *store_enter(struct store *store, struct err *err)
{
    pthread_mutex_lock(&store->lock);
    if (!store->has_failed && database_is_in_place(store))
        return store;
    if (store->has_failed)
        store_refuse(store, err);
    else
        database_moved(store, err);
    store->has_failed = true;
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* Opens the readers' connection unless it is open and well. Its lock is held. */
static int reader_connect(struct store *reader, struct err *err)
{
    if (reader->db && !reader->has_failed)
        return 0;
    sqlite3_close(steal(reader->db));
    reader->has_failed = false;
    if (sqlite3_open_v2(reader->path, &reader->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK)
        return reader->db ? store_fail(reader, err) : store_out_of_memory(err);
    sqlite3_extended_result_codes(reader->db, 1);
    sqlite3_busy_timeout(reader->db, BUSY_TIMEOUT_MS);
    return 0;
}

struct store *store_enter_reader(struct store *store, struct err *err)
{
    struct store *reader = store->reader;
    if (store->has_failed) {
        store_refuse(store, err);
        return NULL;
    }
    pthread_mutex_lock(&reader->lock);
    if (!database_is_in_place(store)) {
        database_moved(store, err);
        store->has_failed = true;
    } else if (reader_connect(reader, err) == 0) {
        if (sqlite3_exec(reader->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK)
            return reader;
        store_fail(reader, err);
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

void store_leave(struct store *store)
{
    if (store->is_reader && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL);
    pthread_mutex_unlock(&store->lock);
}

/* ---- opening ---- */

static int store_execute(struct store *store, const char *sql, struct err *err)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(store, err);
}

static int store_schema_version(struct store *store, int *version, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_new(store, "PRAGMA user_version", err);
    if (!statement)
        return -1;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return store_fail(store, err);
    *version = sqlite3_column_int(statement, 0);
    return 0;
}

/* Applies the schema files that are missing, each in a transaction with its version. */
static int store_upgrade(struct store *store, struct err *err)
{
    int version = 0;
    if (store_schema_version(store, &version, err) != 0)
        return -1;
    if (version > SCHEMA_VERSION)
        return err_set(err, ErrStoreFailed, 0,
                       "database '%s' has schema %d, newer than this program's %d; use a newer "
                       "snapgroupd",
                       store->path, version, SCHEMA_VERSION);
    for (; version < SCHEMA_VERSION; version++) {
        char stamp[96];
        snprintf(stamp, sizeof(stamp), "PRAGMA user_version = %d; PRAGMA application_id = %d",
                 version + 1, APPLICATION_ID);
        if (transaction_begin(store, err) != 0)
            return -1;
        int ret = store_execute(store, schemas[version], err);
        if (ret == 0)
            ret = store_execute(store, stamp, err);
        if (transaction_end(store, ret, err) != 0)
            return -1;
    }
    return 0;
}

/* The names of a new database and its WAL are durable too. */
static int store_sync_directory(const struct store *store, struct err *err)
{
    CLEANUP_FREE char *copy = strdup(store->path);
    if (!copy)
        return store_out_of_memory(err);
    CLEANUP_CLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_set(err, ErrStoreFailed, errno, "the directory of '%s' cannot be synced",
                       store->path);
    return 0;
}

static int store_connect(struct store *store, bool may_create, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX;
    if (may_create)
        flags |= SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(store->path, &store->db, flags, NULL) != SQLITE_OK)
        return store->db ? store_fail(store, err) : store_out_of_memory(err);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
    if (database_check_application(store, APPLICATION_ID, err) != 0 ||
        database_check_id(store, err) != 0)
        return -1;
    if (store_execute(store,
                      "PRAGMA journal_mode = WAL;"
                      "PRAGMA synchronous = FULL;"
                      "PRAGMA foreign_keys = ON;",
                      err) != 0)
        return -1;
    return store_upgrade(store, err);
}

static int store_lock_file(struct store *store, struct err *err)
{
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s.lock", store->path) < 0) {
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
                       store->path);
    return err_set(err, ErrStoreFailed, errno, "'%s' cannot be locked", path);
}

struct store *store_open(const char *path, struct err *err)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store || !(store->path = strdup(path))) {
        free(store);
        store_out_of_memory(err);
        return NULL;
    }
    store->lock_fd = -1;
    pthread_mutex_init(&store->lock, NULL);
    store->reader = calloc(1, sizeof(*store->reader));
    if (!store->reader) {
        store_close(store);
        store_out_of_memory(err);
        return NULL;
    }
    *store->reader = (struct store){.path = store->path, .lock_fd = -1, .is_reader = true};
    pthread_mutex_init(&store->reader->lock, NULL);
    bool may_create;
    database_prepare_directory(store);
    if (store_lock_file(store, err) != 0 || database_may_be_created(store, &may_create, err) != 0 ||
        store_connect(store, may_create, err) != 0 || database_record_id(store, err) != 0 ||
        store_sync_directory(store, err) != 0) {
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store)
{
    if (store->reader) {
        sqlite3_close(store->reader->db);
        pthread_mutex_destroy(&store->reader->lock);
        free(store->reader);
    }
    sqlite3_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
}

int store_reopen(struct store *store, struct err *err)
{
    LOCK_GUARD(&store->lock);
    if (!database_is_in_place(store))
        return database_moved(store, err);
    /* Both are closed: what became of the change that failed is decided by the first one that opens. */
    LOCK_GUARD(&store->reader->lock);
    sqlite3_close(steal(store->reader->db));
    sqlite3_close(steal(store->db));
    store->has_failed = false;
    if (store_connect(store, false, err) == 0) {
        if (database_is_in_place(store))
            return 0;
        database_moved(store, err);
    }
    store->has_failed = true;
    return -1;
}

bool store_is_failed(struct store *store)
{
    return store->has_failed;
}
