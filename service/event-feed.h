/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the recorded events (events.h). Any thread.
 */
#ifndef SERVICE_EVENT_FEED_H
#define SERVICE_EVENT_FEED_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_filter;
struct event_range;
struct event_row;
struct service;

/* Whether all events after that id, up to now, are kept. EventsGone: some were pruned, or the id is
 * of another database. After 0 means all that are kept. */
int events_check_kept(uint64_t after, const struct event_range *range, struct err *err);

/* The id of the newest event; 0: there was none. StoreFailed. */
int events_newest(struct service *service, uint64_t *newest, struct err *err);

/* As store_event_list(); *has_more: the list goes on after the last one. EventsGone. */
int events_list(struct service *service, const struct event_filter *filter, size_t limit,
                struct event_row **rows, size_t *count, bool *has_more, struct err *err);

#endif
