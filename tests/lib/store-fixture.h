/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in the scratch directory, empty at the begin of each test, and rows to put into it.
 * Main thread only, but for STORE_CHANGE with an `err` of its own.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "store/devices.h"
#include "store/frozen-files.h"
#include "store/groups.h"
#include "store/jobs.h"
#include "store/store.h"
#include "tests/lib/testlib.h"

#include <stdio.h>
#include <string.h>

#define STORE_PATH "db" /* the scratch directory is the current one */

extern struct store *store;
extern struct err err; /* of the last change or query */

#define STORE_FIXTURE                                                                              \
    {                                                                                              \
        .begin = store_fixture_begin, .end = store_fixture_end                                     \
    }
int store_fixture_begin(void **state);
int store_fixture_end(void **state);

/* Ends the process's use of the store, and begins it anew. */
void store_restart(void);

/* Runs one query in a transaction of its own: 0, or -1 and `err`. */
#define STORE_CHANGE(query, ...)                                                                   \
    ({                                                                                             \
        struct store_transaction *change = store_begin(store, &err);                               \
        bool change_is_done = change && query(change, __VA_ARGS__, &err) == 0;                     \
        store_change_end(change, change_is_done);                                                  \
    })
int store_change_end(struct store_transaction *change, bool is_done);

/* Runs one query that counts, or finds, in a transaction of its own, which is committed whatever
 * the query returns. What that was. */
#define STORE_RESULT(query, ...)                                                                   \
    ({                                                                                             \
        struct store_transaction *change = store_begin(store, &err);                               \
        int query_result = query(change, __VA_ARGS__, &err);                                       \
        assert_int_equal(store_commit(change, &err), 0);                                           \
        query_result;                                                                              \
    })

/* Text of a UUID that ends in `number`. */
const char *id_text(unsigned number);

/* An attached device of that name and id, whose image and top are /i/NAME. Texts are static. */
struct device_row device_example(const char *name, unsigned id);
void device_must_insert(const char *name, unsigned id);

/* A group in state `preparing` named g<id>, with one member that freezes `backing`, of `device`,
 * and makes `overlay` its top. Its texts are borrowed or static: for one group at a time. */
struct group_row group_example(unsigned id, const char *device, const char *backing,
                               const char *overlay);

/* Brings a group that was just inserted to `state` by the changes that lead there. */
void group_must_become(const struct group_row *row, enum group_state state);

/* Records a committed group_example() that froze its member. The identity of each of the two images
 * is the last character of its path. */
void group_must_freeze(unsigned id, const char *device, const char *backing, const char *overlay);

/* A queued job of that id. */
struct job_row job_example(unsigned id);
void job_must_insert(unsigned id, uint64_t created_at_us);

/* Runs SQL on the database file, through a connection of its own. */
void store_sql(const char *sql);

/* The number that the SQL returns, likewise. */
int64_t store_number(const char *sql);

#endif
