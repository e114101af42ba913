/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `frozen_files`: rows and queries. See store.h for their rules.
 */
#ifndef STORE_FROZEN_FILES_H
#define STORE_FROZEN_FILES_H

#include "base/err.h"
#include "store/group-row.h"
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

/* Who needs a frozen file as it is. */
enum frozen_user_kind {
    FROZEN_MERGE,  /* stands on it, and is half merged into it */
    FROZEN_GROUP,  /* froze it */
    FROZEN_DEVICE, /* has it as its top */
    FROZEN_IMAGE,  /* stands on it */
    FROZEN_DOUBT,  /* an image that is needed, and may stand on it: that is not known */
};

struct frozen_user_row {
    enum frozen_user_kind kind;
    char *name; /* of the group or the device, or the path of the image */
};
void frozen_user_row_clear(struct frozen_user_row *row);

/* Where that file is recorded as an image: by its identity, or by its path. *rows is heap; free
 * with frozen_file_rows_free. */
int store_frozen_file_images(struct store *store, const struct frozen_file_row *file,
                             struct frozen_file_row **rows, size_t *count, struct err *err);

/* The file is frozen no longer, unless something recorded needs it as it is: then 0 and *user. 1:
 * its rows are gone; -1: *err. */
int store_frozen_file_release(struct store_transaction *transaction,
                              const struct frozen_file_row *file, struct frozen_user_row *user,
                              struct err *err);

#endif
