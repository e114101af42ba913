/* SPDX-License-Identifier: Apache-2.0
 *
 * The store remembers: the catalogue (devices) and the history (groups and their members), in
 * SQLite (WAL, synchronous=FULL, foreign keys on). One function per query, one file per table
 * (devices.c, groups.c, members.c, frozen-files.c). Any thread may call anything. Changes are made
 * within a transaction of the caller's: when store_commit() returned 0 they survive power loss.
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
#include <stddef.h>
#include <stdint.h>

struct store;

#define STORE_ID_CHARS 36 /* a UUID's text */

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

/* ---- devices ---- */

enum device_row_state {
    DEVICE_ROW_CREATING, /* its image is being made; recovery takes it away */
    DEVICE_ROW_ATTACHED,
    DEVICE_ROW_DETACHING, /* it is being closed, after which the row goes */
};

struct device_row {
    char id[STORE_ID_CHARS + 1];
    enum device_row_state state;
    char *name;
    char *image;              /* absolute path given at attach */
    char *image_identity;     /* of that file (block/image/identity.h), or NULL: not known */
    char *directory_identity; /* of the image's directory when it was created; or NULL: not known */
    char *format;             /* of `image` */
    char *top;          /* absolute path of the top image now; `image` until the first group */
    char *top_identity; /* likewise */
    char *top_format;
    bool read_only;
    uint32_t cluster_size_bytes; /* of overlays to come */
    bool extended_l2;
    char *labels; /* JSON object, opaque here */
    uint64_t created_at_us;
};
void device_row_clear(struct device_row *row);

int store_device_insert(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err); /* DeviceExists */

/* Of the device with row->id: its state becomes row->state; an identity that is not NULL is
 * recorded. DeviceNotFound. */
int store_device_update_state(struct store_transaction *transaction, const struct device_row *row,
                              struct err *err);

/* The device with row->id. DeviceNotFound. */
int store_device_delete(struct store_transaction *transaction, const struct device_row *row,
                        struct err *err);

int store_device_get(struct store *store, const char *name, struct device_row *row,
                     struct err *err); /* DeviceNotFound */

/* Up to `limit` rows with names after `after` (NULL: from the first), by name. *rows is heap; free
 * with device_rows_free. */
int store_device_list(struct store *store, const char *after, size_t limit,
                      struct device_row **rows, size_t *count, struct err *err);
void device_rows_free(struct device_row *rows, size_t count);

/* ---- groups ---- */

/* Failed attempts that are kept: so many, and for so long. */
#define STORE_ABORTED_GROUPS_MAX 1000
#define STORE_ABORTED_DAYS_MAX   30

/* A page of a list ends early once its rows take more than this. */
#define STORE_PAGE_BYTES_MAX (1U << 20)

enum group_state {
    GROUP_PREPARING,
    GROUP_COMMITTING, /* the point of no return */
    GROUP_COMMITTED,
    GROUP_ABORTING,
    GROUP_ABORTED,
};
const char *group_state_name(enum group_state state); /* "preparing" and so on */

/* A file that is, or is beneath, the frozen image of a member: it is never to be written again. */
struct frozen_file_row {
    char *identity; /* block/image/identity.h */
    char *path;     /* absolute: where it was when it was frozen */
};

struct member_row {
    char *device;
    char *device_id;          /* recorded by insert; NULL: not known, as in rows from before */
    char *backing_file;       /* absolute; NULL if the attempt failed before it was known */
    char *backing_format;     /* likewise */
    char *backing_identity;   /* likewise, and in rows from before (block/image/identity.h) */
    char *snapshot_file;      /* absolute where it could be resolved, else as asked */
    char *format;             /* of snapshot_file */
    char *directory_identity; /* of the overlay's directory; NULL: not known */
    char *snapshot_identity;  /* NULL before the overlay exists, and in rows from before */
    bool has_pause;
    uint64_t pause_us;
};

struct group_row {
    char id[STORE_ID_CHARS + 1];
    enum group_state state;
    char *name;
    char *labels; /* JSON object, opaque here */
    uint64_t created_at_us;
    uint64_t sequence; /* given by insert; of two groups the later one has the larger */
    bool has_cut; /* cut_at_us and pause_us are known; not so if recovery committed the group */
    uint64_t cut_at_us, pause_us;
    bool has_duration;
    uint64_t duration_us;
    size_t member_count;
    struct member_row *members; /* in list order */
    size_t frozen_count;        /* to be recorded with `committing`; never read back */
    struct frozen_file_row *frozen;
    /* Of an aborted group: what went wrong. */
    bool has_error;
    enum err_code error_code;
    int error_errnum;
    char *error_message;
    bool has_error_member;
    size_t error_member; /* position of the failing member */
};
void group_row_clear(struct group_row *row);

/* Inserts the group with its members, in state GROUP_PREPARING or (a failed attempt) GROUP_ABORTED.
 * GroupExists: a group that is not aborted has this name. DeviceInUse: another group of one of the
 * devices is `committing`. */
int store_group_insert(struct store_transaction *transaction, const struct group_row *row,
                       struct err *err);

/* preparing -> committing. In the same transaction each member's backing_identity and
 * snapshot_identity are recorded, by position, and `frozen`; those recorded before stay. */
int store_group_update_committing(struct store_transaction *transaction,
                                  const struct group_row *row, struct err *err);

/* committing -> committed; in the same transaction each member's snapshot_file, with its identity,
 * becomes the top of its device, if that is still the image that was frozen. `row` gives id,
 * has_cut, cut_at_us, pause_us, has_duration, duration_us and each member's pause, by position. */
int store_group_update_committed(struct store_transaction *transaction, const struct group_row *row,
                                 struct err *err);

/* preparing -> aborting -> aborted, with the error of `row` (aborted keeps the one recorded before
 * if !row->has_error). */
int store_group_update_aborting(struct store_transaction *transaction, const struct group_row *row,
                                struct err *err);
int store_group_update_aborted(struct store_transaction *transaction, const struct group_row *row,
                               struct err *err);

/* The oldest group in that state of those later than `after` (a `sequence`; 0: of all). 1: *row; 0:
 * there is none; -1: *err. */
int store_group_next(struct store *store, enum group_state state, uint64_t after,
                     struct group_row *row, struct err *err);

/* By id, or by the name of a group that is not aborted. GroupNotFound. */
int store_group_get(struct store *store, const char *id_or_name, struct group_row *row,
                    struct err *err);

/* Newest first, up to `limit` groups older than `cursor` (NULL: from the newest). `next` gets the
 * cursor that continues, "" if there are no more. `state` >= 0 keeps only groups of that state. */
#define STORE_CURSOR_CHARS 64
int store_group_list(struct store *store, const char *cursor, size_t limit, int state,
                     struct group_row **rows, size_t *count, char next[STORE_CURSOR_CHARS + 1],
                     struct err *err);
void group_rows_free(struct group_row *rows, size_t count);

/* ---- frozen files ---- */

/* Up to `limit` rows with identities after `after` (NULL: from the first), by identity. *rows is
 * heap; free with frozen_file_rows_free. */
int store_frozen_file_list(struct store *store, const char *after, size_t limit,
                           struct frozen_file_row **rows, size_t *count, struct err *err);
void frozen_file_rows_free(struct frozen_file_row *rows, size_t count);

/* Records files that earlier groups froze; those recorded already stay. One transaction. */
int store_frozen_file_insert(struct store_transaction *transaction,
                             const struct frozen_file_row *rows, size_t count, struct err *err);

#endif
