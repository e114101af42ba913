/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `events`: the feed and the audit log. See store.h for the rules of queries.
 *
 * An event is inserted in the transaction of the change that it reports, so there is one exactly if
 * the change was made. Ids grow in the order of the commits and never come twice; those that are
 * kept are oldest to newest without a gap.
 */
#ifndef STORE_EVENTS_H
#define STORE_EVENTS_H

#include "base/err.h"
#include "store/event-row.h"
#include "store/limits.h"
#include "store/row.h"

#include <stddef.h>
#include <stdint.h>

struct store;
struct store_transaction;

const char *event_kind_name(enum event_kind kind);      /* "device.attached" and so on */
enum event_kind event_kind_from_name(const char *name); /* or EVENT_KIND_COUNT */

/* `row->id` is not looked at. With `detail` NULL it becomes what the rows of `group_id` or `device`
 * say within the transaction, and one that is given is added to that of `group_id`: insert the
 * event after the row, and before a row is deleted. Deletes a few events that are too many or too
 * old, and tokens (store_tokens_prune()). */
int store_event_insert(struct store_transaction *transaction, const struct event_row *row,
                       struct err *err);

/* An event for each device that grew with the group `row->group_id`, which is committed within the
 * transaction; the event's own group is NULL, and `detail` also has size_bytes and
 * previous_size_bytes. */
int store_event_insert_grown(struct store_transaction *transaction, const struct event_row *row,
                             struct err *err);

/* Has the eventfd written after each transaction that had events, until another one is given; -1:
 * none. Waits for nobody. */
void store_events_listen(struct store *store, int fd);

/* What a list has. Strings are borrowed. */
struct event_filter {
    uint64_t after;       /* an id; 0: from the oldest */
    enum event_kind kind; /* EVENT_KIND_COUNT: all */
    const char *device;   /* that it is about, or that is a member of its group; or NULL */
    const char *group_id; /* or NULL */
};

#define EVENT_LIST_SQL_BYTES 512

/* Writes the query of a list. For store_event_list(), and for tests. */
void event_list_sql(const struct event_filter *filter, char sql[EVENT_LIST_SQL_BYTES]);

/* The ids of the events that are kept, none if oldest > newest. */
struct event_range {
    uint64_t oldest, newest;
};

/* Up to `limit` events, oldest first; fewer if they take more than a page may. *rows is heap; free
 * with event_rows_free. */
int store_event_list(struct store *store, const struct event_filter *filter, size_t limit,
                     struct event_row **rows, size_t *count, struct event_range *range,
                     struct err *err);
void event_row_clear(struct event_row *row);
void event_rows_free(struct event_row *rows, size_t count);

#endif
