/* SPDX-License-Identifier: Apache-2.0
 *
 * The store remembers: the catalogue (devices) and the history (groups and their members), in
 * SQLite (WAL, synchronous=FULL, foreign keys on). One function per query, one file per table
 * (devices.c, groups.c, members.c, images.c, frozen-files.c). Any thread may call anything. Changes
 * are made within a transaction of the caller's: when store_commit() returned 0 they survive power
 * loss.
 *
 * Errors: a row that is not there or a name that is taken gets its own code. Everything else is
 * StoreFailed, and then the outcome of a change is unknown: the store refuses all further calls
 * (StoreFailed) until store_reopen() succeeds, after which the caller looks at what is there.
 *
 * Strings in a row given to insert are borrowed; those in a row got back are heap and freed by its
 * _clear. Times are microseconds since the epoch, UTC.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/cleanup.h"
#include "base/err.h"

#include <stdbool.h>

struct store;

/* Opens or creates the database file, applies missing schema files, syncs the directory when it was
 * created. A schema newer than this program's is refused. NULL and *err (StoreFailed). */
struct store *store_open(const char *path, struct err *err);
void store_close(struct store *store);

/* After StoreFailed: closes and opens again. */
int store_reopen(struct store *store, struct err *err);

/* Whether calls are refused until store_reopen(). */
bool store_is_failed(struct store *store);

/* ---- transactions ---- */

/* All changes of one transaction are durable together, or none is: a row, its event and its
 * idempotency key. One transaction is open at a time; others wait in store_begin(). Its thread ends
 * it:
 *
 *     CLEANUP(store_transaction) struct store_transaction *transaction = store_begin(store, err);
 *     if (!transaction || store_device_insert(transaction, row, err) != 0)
 *         return -1;
 *     return store_commit(steal(transaction), err);
 *
 * A query that returned -1 leaves nothing to do but to roll back; a commit then is InternalError.
 * Queries that only read do not see the changes before the commit. */
struct store_transaction;

/* NULL and *err: StoreBusy if another program locks the database, and nothing was changed;
 * StoreFailed; InternalError if this thread has a transaction open. */
struct store_transaction *store_begin(struct store *store, struct err *err);

/* Both end the transaction. StoreFailed from a commit: whether it was made is unknown. */
int store_commit(struct store_transaction *transaction, struct err *err);
void store_rollback(struct store_transaction *transaction);
CLEANUP_DEFINE(store_transaction, struct store_transaction *, store_rollback)

#endif
