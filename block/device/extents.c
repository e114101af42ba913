/* SPDX-License-Identifier: Apache-2.0
 *
 * Changed extents of frozen members. See block/extents.h; device-since.c has the comparison.
 */
#include "block/extents.h"

#include "base/monotonic.h"
#include "block/device/device.h"
#include "block/device/exports.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct block_extents {
    struct block *block;
    struct device *device, *older; /* in use; `older` may be NULL */
    uint64_t granularity_bytes;
};

void block_extents_close(struct block_extents *extents)
{
    if (extents->older)
        export_unuse(extents->block, extents->older);
    if (extents->device)
        export_unuse(extents->block, extents->device);
    free(extents);
}

struct block_extents *block_extents_open(struct block *block, const char *name, const char *older,
                                         struct err *err)
{
    CLEANUP(block_extents) struct block_extents *extents = calloc(1, sizeof(*extents));
    if (!extents) {
        err_set(err, ErrOutOfResources, ENOMEM, "extents of '%s' cannot be listed", name);
        return NULL;
    }
    extents->block = block;
    extents->device = export_use(block, name, NULL, err);
    if (!extents->device || (older && !(extents->older = export_use(block, older, NULL, err))))
        return NULL;
    extents->granularity_bytes = device_granularity_since(extents->device, extents->older);
    if (extents->granularity_bytes == 0) {
        err_set(err, ErrNotRelated, 0, "'%s' and '%s' have no image in common", name, older);
        return NULL;
    }
    return steal(extents);
}

uint64_t block_extents_size_bytes(const struct block_extents *extents)
{
    return device_size_bytes(extents->device);
}

uint64_t block_extents_granularity_bytes(const struct block_extents *extents)
{
    return extents->granularity_bytes;
}

/* ---- a list ---- */

struct listing {
    struct block_extent *list;
    size_t room, count;
};

/* Adds a changed range to the end. False: there is no room. */
static bool listing_add(struct listing *listing, uint64_t offset, uint64_t length, bool is_zero)
{
    struct block_extent *last = listing->count ? &listing->list[listing->count - 1] : NULL;
    if (last && last->offset + last->length == offset && last->is_zero == is_zero) {
        last->length += length;
        return true;
    }
    assert(!last || last->offset + last->length <= offset);
    if (listing->count == listing->room)
        return false;
    listing->list[listing->count++] = (struct block_extent){offset, length, is_zero};
    return true;
}

int block_extents_list(struct block_extents *extents, uint64_t *offset, unsigned time_ms,
                       struct block_extent *list, size_t room, size_t *count, struct err *err)
{
    struct listing listing = {list, room, 0};
    uint64_t size = block_extents_size_bytes(extents), end_ms = clock_monotonic_ms() + time_ms;
    assert(*offset <= size && room > 0);
    bool has_room = true;
    while (*offset < size && has_room) {
        struct device_difference found = {.length = size - *offset};
        int ret = device_map_since(extents->device, extents->older, *offset, &found);
        if (ret)
            return err_set(err, ErrOpenFileFailed, -ret, "an image of '%s' cannot be read",
                           extents->device->name);
        has_room = !found.is_changed || listing_add(&listing, *offset, found.length, found.is_zero);
        if (has_room)
            *offset += found.length;
        if (clock_monotonic_ms() >= end_ms)
            break;
    }
    *count = listing.count;
    return 0;
}
