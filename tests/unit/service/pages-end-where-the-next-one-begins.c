/* SPDX-License-Identifier: Apache-2.0
 *
 * A page of devices goes on where the last one ended, also where none of its devices is there any
 * more: in a detach the row outlives the device.
 */
#include "tests/lib/store-fixture.h"

#include "block/block.h"
#include "service/context.h"
#include "service/devices.h"

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
