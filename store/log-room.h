/* SPDX-License-Identifier: Apache-2.0
 *
 * The room of the write-ahead log. A commit that makes the log longer waits, on journaling file
 * systems, for a commit of theirs, and that may wait for what guests have written meanwhile. Where
 * the log's blocks are there, a commit of the database waits for its own pages only. Private to
 * store/.
 */
#ifndef STORE_LOG_ROOM_H
#define STORE_LOG_ROOM_H

#include "store/connection.h"

/* As much as SQLite fills before it begins at the front again: 1000 pages and one transaction. */
#define LOG_ROOM_BYTES (9 << 19)

/* A log of this length is in use; a process that changes little is spared the work. */
#define LOG_ROOM_FROM_BYTES (1 << 19)

/* After a commit: once the log is in use, makes it as long as it will be, by zeros at its end,
 * which SQLite takes for the end of what is valid. Once for a connection; the last one to close
 * removes the log. Where there is no space, or another program writes to the database just then,
 * the log grows by and by instead. */
void log_room_make(struct connection *writer);

#endif
