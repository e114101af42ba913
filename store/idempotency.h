/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `idempotency_keys`. See store.h for the rules of queries.
 *
 *   (none) --store_key_insert, with the resource's row--> made --store_key_answer--> answered
 *      +--store_key_answer, if nothing was made--------------------------------------^
 *
 * Keys end store_keys_keep() after their request; of a caller with more than STORE_KEYS_MAX those
 * go that were made first.
 */
#ifndef STORE_IDEMPOTENCY_H
#define STORE_IDEMPOTENCY_H

#include "base/err.h"
#include "store/limits.h"
#include "store/row.h"

#include <stdint.h>

struct store;
struct store_transaction;

#define STORE_KEYS_SECONDS (24 * 3600) /* unless store_keys_keep() sets another time */

void key_row_clear(struct key_row *row);

/* Sets how long keys are kept, those that there are included. At any time; waits for nobody. */
void store_keys_keep(struct store *store, uint64_t seconds);
uint64_t store_keys_kept(const struct store *store); /* seconds */

/* The caller's key, unless it has ended by `now_us`. 1: *row; 0: there is none; -1: *err. */
int store_key_get(struct store *store, const char *caller, const char *key, uint64_t now_us,
                  struct key_row *row, struct err *err);

/* The key of a request that makes the row named by its resource, in the same transaction, in which
 * its created_at_us is read from the clock, too. It replaces one that has no answer or has ended:
 * an earlier attempt, of which nothing is left. */
int store_key_insert(struct store_transaction *transaction, const struct key_row *row,
                     struct err *err);

/* Records the answer, unless there is one. */
int store_key_answer(struct store_transaction *transaction, const struct key_row *row,
                     struct err *err);

#endif
