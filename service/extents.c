/* SPDX-License-Identifier: Apache-2.0
 *
 * See extents.h.
 */
#include "service/extents.h"

#include "service/context.h"
#include "service/image-looks.h"
#include "service/readiness.h"
#include "service/snapshot-groups.h"
#include "service/storage-calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MS = 2500 };

/* Names of exports: a device's and a group's id. */
#define EXPORT_BYTES (DEVICE_NAME_MAX + 1 + STORE_ID_CHARS + 1)

/* A page that is listed, by a thread of storage-calls.h. */
struct listing {
    char name[EXPORT_BYTES];  /* the newer member's export */
    char older[EXPORT_BYTES]; /* "": none */
    char *storage;            /* of the newer member's chain */
    uint64_t offset;
    size_t limit;
    struct extents_page page;
};

void extents_page_clear(struct extents_page *page)
{
    free(page->items);
    *page = (struct extents_page){0};
}

static void listing_free(void *context)
{
    struct listing *listing = context;
    if (!listing)
        return;
    extents_page_clear(&listing->page);
    free(listing->storage);
    free(listing);
}

/* Lists the page, from a buffer that is cut to what there is. */
static int listing_fill(struct listing *listing, struct block_extents *extents, struct err *err)
{
    struct extents_page *page = &listing->page;
    page->size_bytes = block_extents_size_bytes(extents);
    page->granularity_bytes = block_extents_granularity_bytes(extents);
    page->next = listing->offset;
    if (listing->offset > page->size_bytes)
        return err_set(err, ErrInvalidParameter, 0,
                       "query parameter 'cursor' is past the end of the disk, which has %llu bytes",
                       (unsigned long long)page->size_bytes);
    page->items = malloc(listing->limit * sizeof(*page->items));
    if (!page->items)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a page");
    return block_extents_list(extents, &page->next, PAGE_MS, page->items, listing->limit,
                              &page->count, err);
}

static int listing_work(void *context, struct block *block, struct err *err)
{
    struct listing *listing = context;
    CLEANUP(block_extents)
    struct block_extents *extents =
        block_extents_open(block, listing->name, *listing->older ? listing->older : NULL, err);
    return extents ? listing_fill(listing, extents, err) : -1;
}

/* Finds the group's frozen member of the device: the name of its export and, unless `image` is
 * NULL, the path of its image (heap). */
static int member_find(struct service *service, const char *group, const char *device,
                       char name[EXPORT_BYTES], char **image, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (snapshot_groups_get(service, group, &row, err) != 0)
        return -1;
    if (row.state == GROUP_DELETING)
        return err_set(err, ErrGroupDeleting, 0, "snapshot group '%s' is being deleted", row.name);
    struct member_row *member = group_row_member(&row, device);
    if (!member || !member_is_frozen(&row, member))
        return err_set(err, ErrDeviceNotFound, 0, "snapshot group '%s' has no frozen member '%s'",
                       row.name, device);
    snprintf(name, EXPORT_BYTES, "%s@%s", device, row.id);
    if (image)
        *image = steal(member->backing_file);
    return 0;
}

static int listing_begin(struct listing *listing, struct service *service,
                         const struct extents_request *request, struct err *err)
{
    CLEANUP_FREE char *image = NULL;
    listing->offset = request->offset;
    listing->limit = request->limit;
    if (member_find(service, request->group, request->device, listing->name, &image, err) != 0 ||
        (request->since &&
         member_find(service, request->since, request->device, listing->older, NULL, err) != 0))
        return -1;
    listing->storage = chain_storage(service, image, err);
    return listing->storage ? 0 : -1;
}

int extents_get(struct service *service, const struct extents_request *request,
                struct extents_page *page, struct err *err)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for changed extents");
    int ret = listing_begin(listing, service, request, err);
    char what[EXPORT_BYTES + 2];
    snprintf(what, sizeof(what), "'%s'", listing->name);
    struct storage_call call = {.what = what,
                                .storage = listing->storage,
                                .wait_ms = EXTENT_WAIT_MAX_MS,
                                .calls_max = EXTENT_CALLS_MAX,
                                .work = listing_work,
                                .free = listing_free,
                                .context = listing};
    if (ret == 0)
        ret = storage_call(service->storage_calls, &call, err);
    listing = call.context;
    if (ret == 0) {
        *page = listing->page;
        listing->page = (struct extents_page){0};
    }
    listing_free(listing);
    return ret;
}
