/* SPDX-License-Identifier: Apache-2.0
 *
 * See log-room.h.
 *
 * The lock of a transaction is held meanwhile, so that no other program appends to the log. The
 * zeros are written, for a hole, or space that is only allocated, would be as good as none.
 */
#include "store/log-room.h"

enum { STEP_BYTES = 64 << 10 }; /* SQLite writes less than 128 KiB at a time */

/* Up to the room's end, or to *bytes if it fails. */
static int log_append_zeros(sqlite3_file *log, sqlite3_int64 *bytes)
{
    const struct sqlite3_io_methods *methods = log->pMethods;
    CLEANUP_FREE unsigned char *zeros = calloc(1, STEP_BYTES);
    int rc = zeros ? SQLITE_OK : SQLITE_NOMEM;
    while (rc == SQLITE_OK && *bytes < LOG_ROOM_BYTES) {
        sqlite3_int64 left = LOG_ROOM_BYTES - *bytes;
        int step = left < STEP_BYTES ? (int)left : STEP_BYTES;
        rc = methods->xWrite(log, zeros, step, *bytes);
        *bytes += step;
    }
    return rc == SQLITE_OK ? methods->xSync(log, SQLITE_SYNC_NORMAL) : rc;
}

/* What was appended goes again if that fails: others may need the space. */
static void log_extend(sqlite3_file *log)
{
    sqlite3_int64 before;
    if (log->pMethods->xFileSize(log, &before) != SQLITE_OK || before >= LOG_ROOM_BYTES)
        return;
    sqlite3_int64 bytes = before;
    if (log_append_zeros(log, &bytes) != SQLITE_OK)
        log->pMethods->xTruncate(log, before);
}

/* NULL: there is none. */
static sqlite3_file *log_of(const struct connection *writer)
{
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(writer->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    return rc == SQLITE_OK && log && log->pMethods ? log : NULL;
}

void log_room_make(struct connection *writer)
{
    struct err err; /* of the connection, which then has failed */
    sqlite3_int64 bytes;
    sqlite3_file *log = writer->has_log_room ? NULL : log_of(writer);
    if (!log || log->pMethods->xFileSize(log, &bytes) != SQLITE_OK || bytes < LOG_ROOM_FROM_BYTES)
        return;
    writer->has_log_room = true; /* or it cannot be had */
    sqlite3_busy_timeout(writer->db, 0);
    int rc = sqlite3_exec(writer->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    sqlite3_busy_timeout(writer->db, CONNECTION_BUSY_MS);
    if (rc != SQLITE_OK)
        return; /* if that is for good, the next transaction says so */
    log_extend(log);
    connection_execute(writer, "ROLLBACK", &err);
}
