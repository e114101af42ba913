/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `frozen_files`: rows and queries. See store.h for their rules.
 */
#ifndef STORE_FROZEN_FILES_H
#define STORE_FROZEN_FILES_H

#include "base/err.h"
#include "store/row.h"

#include <stddef.h>

struct store;
struct store_transaction;

/* Up to `limit` rows with identities after `after` (NULL: from the first), by identity. *rows is
 * heap; free with frozen_file_rows_free. */
int store_frozen_file_list(struct store *store, const char *after, size_t limit,
                           struct frozen_file_row **rows, size_t *count, struct err *err);
void frozen_file_rows_free(struct frozen_file_row *rows, size_t count);

/* Records files that earlier groups froze; those recorded already stay. One transaction. */
int store_frozen_file_insert(struct store_transaction *transaction,
                             const struct frozen_file_row *rows, size_t count, struct err *err);

#endif
