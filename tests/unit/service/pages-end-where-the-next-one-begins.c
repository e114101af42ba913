/* SPDX-License-Identifier: Apache-2.0
 *
 * A page goes on where the last one ended, whatever is on it: devices that are not there any more,
 * as in a detach the row outlives the device, or events that take more than a page may.
 */
#include "tests/lib/store-fixture.h"

#include "block/block.h"
#include "service/context.h"
#include "service/devices.h"
#include "service/event-feed.h"
#include "store/events.h"

static const struct fixture fixture = STORE_FIXTURE;

TEST(devices_that_are_being_closed_end_a_page)
{
    struct device_view *views;
    size_t count;
    bool more;
    char last[DEVICE_NAME_MAX + 1];
    struct service service = {.store = store, .block = block_open(scratch_dir(), &err)};
    assert_non_null(service.block);
    device_must_insert("a", 1);
    device_must_insert("b", 2);
    device_must_insert("c", 3);
    const char *after = NULL, *const pages[] = {"a", "b", "c"};
    for (size_t page = 0; page < 3; page++, after = pages[page - 1]) {
        assert_int_equal(devices_list(&service, after, 1, &views, &count, &more, last, &err), 0);
        assert_int_equal(count, 0);
        assert_int_equal(more, page < 2);
        if (more)
            assert_string_equal(last, pages[page]);
        device_views_free(views, count);
    }
    assert_int_equal(block_close(service.block, &err), 0);
}

static void insert_event(char *detail)
{
    const struct event_row row = {
        .at_us = 1, .kind = EVENT_GROUP_COMMITTED, .actor = (char *)"uid 0", .detail = detail};
    assert_int_equal(STORE_CHANGE(store_event_insert, &row), 0);
}

TEST(events_that_fill_a_page_up_to_its_limit_are_not_the_last)
{
    enum { LIMIT = 4, EVENTS = 6 };
    struct event_row *rows;
    size_t count;
    bool more;
    CLEANUP_FREE char *detail = NULL;
    struct service service = {.store = store};
    assert_true(asprintf(&detail, "{\"x\":\"%0*d\"}", (int)STORE_PAGE_BYTES_MAX / LIMIT, 0) > 0);
    for (size_t i = 0; i < EVENTS; i++)
        insert_event(detail);
    struct event_filter filter = {.kind = EVENT_KIND_COUNT};
    for (uint64_t wanted = 1; wanted <= EVENTS; wanted += LIMIT) {
        assert_int_equal(events_list(&service, &filter, LIMIT, &rows, &count, &more, &err), 0);
        assert_true(count > 0 && rows[0].id == wanted);
        filter.after = rows[count - 1].id;
        assert_int_equal(more, filter.after < EVENTS);
        event_rows_free(rows, count);
    }
}
