/* SPDX-License-Identifier: Apache-2.0
 *
 * Changed extents: what differs between a group's member and that of an older group, page by page.
 *
 * A call waits for its page no longer than EXTENT_WAIT_MAX_MS (storage-calls.h). A page ends early
 * where its storage is slow.
 */
#ifndef SERVICE_EXTENTS_H
#define SERVICE_EXTENTS_H

#include "base/err.h"
#include "block/extents.h"
#include "service/limits.h"

struct service;

/* The ids or names of two groups, the name of a device in both. */
struct extents_request {
    const char *group, *device;
    const char *since; /* NULL: all that is allocated */
    uint64_t offset;   /* where the page begins */
    size_t limit;      /* of items: 1 to EXTENT_ITEMS_MAX */
};

struct extents_page {
    struct block_extent *items; /* heap */
    size_t count;
    uint64_t size_bytes, granularity_bytes;
    uint64_t next; /* the `offset` that goes on; size_bytes: there are no more */
};
void extents_page_clear(struct extents_page *page);

/* GroupNotFound; DeviceNotFound: a group has no frozen member of the device; NotRelated;
 * InvalidParameter: the offset is past the end; DeadlineExceeded: the storage does not answer; what
 * opening a chain may fail with; OutOfResources, StoreFailed. */
int extents_get(struct service *service, const struct extents_request *request,
                struct extents_page *page, struct err *err);

#endif
