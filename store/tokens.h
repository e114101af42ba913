/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `tokens`: rows and queries. See store.h for their rules.
 */
#ifndef STORE_TOKENS_H
#define STORE_TOKENS_H

#include "base/err.h"
#include "store/limits.h"
#include "store/row.h"

#include <stddef.h>
#include <stdint.h>

struct store;
struct store_transaction;

const char *scope_name(enum scope scope); /* "read" and so on */

/* The scope of that name; SCOPE_NONE: there is none that a token may have. */
enum scope scope_from_name(const char *name);

void token_row_clear(struct token_row *row);

int store_token_insert(struct store_transaction *transaction, const struct token_row *row,
                       struct err *err); /* TokenExists */

/* Deletes a few tokens that expired STORE_TOKEN_DAYS_MAX ago. Part of each insertion of a token or
 * an event. */
int store_tokens_prune(struct store_transaction *transaction, uint64_t now_us, struct err *err);

/* The token with row->id. TokenNotFound. */
int store_token_delete(struct store_transaction *transaction, const struct token_row *row,
                       struct err *err);

/* By id, or by name. TokenNotFound. */
int store_token_get(struct store *store, const char *id_or_name, struct token_row *row,
                    struct err *err);

/* Up to `limit` rows with names after `after` (NULL: from the first), by name. *rows is heap; free
 * with token_rows_free. */
int store_token_list(struct store *store, const char *after, size_t limit, struct token_row **rows,
                     size_t *count, struct err *err);
void token_rows_free(struct token_row *rows, size_t count);

#endif
