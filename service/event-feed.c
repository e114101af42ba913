/* SPDX-License-Identifier: Apache-2.0
 *
 * See event-feed.h.
 */
#include "service/event-feed.h"

#include "service/context.h"
#include "store/events.h"

#include <inttypes.h>

int events_check_kept(uint64_t after, const struct event_range *range, struct err *err)
{
    if (after > range->newest)
        return err_set(err, ErrEventsGone, 0,
                       "there is no event %" PRIu64 " yet; the newest is %" PRIu64
                       ": the database is not the one that it came from; read the lists anew, then "
                       "go on after that one",
                       after, range->newest);
    if (after == 0 || after + 1 >= range->oldest)
        return 0;
    return err_set(err, ErrEventsGone, 0,
                   "events after %" PRIu64 " were deleted for their age or number; the oldest is "
                   "%" PRIu64 ": read the lists anew, then go on after %" PRIu64,
                   after, range->oldest, range->newest);
}

int events_newest(struct service *service, uint64_t *newest, struct err *err)
{
    struct event_row *rows;
    struct event_range range;
    size_t count;
    const struct event_filter none = {.after = UINT64_MAX, .kind = EVENT_KIND_COUNT};
    if (store_event_list(service->store, &none, 1, &rows, &count, &range, err) != 0)
        return -1;
    event_rows_free(rows, count);
    *newest = range.newest;
    return 0;
}

int events_list(struct service *service, const struct event_filter *filter, size_t limit,
                struct event_row **rows, size_t *count, bool *has_more, struct err *err)
{
    struct event_range range;
    if (store_event_list(service->store, filter, limit + 1, rows, count, &range, err) != 0)
        return -1;
    if (events_check_kept(filter->after, &range, err) != 0) {
        event_rows_free(*rows, *count);
        return -1;
    }
    /* A page may have ended early, also at the limit. */
    uint64_t last = *count > 0 ? (*rows)[*count - 1].id : range.newest;
    *has_more = *count > limit || last < range.newest;
    if (*count > limit)
        event_row_clear(&(*rows)[--*count]);
    return 0;
}
