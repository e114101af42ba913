/* SPDX-License-Identifier: Apache-2.0
 *
 * What has changed from one frozen state of a disk to another. See io.h.
 *
 *       newer         older        The images below the first that differs are common: the last of
 *         |             |          them is Z. A layer says something of a range if it has data or
 *      layer 3       layer 3'      zeros there, or has ended.
 *         |            /
 *      layer 2 -------+            Z here is layer 2. Without a rollback between, Z is the older
 *         |                        top itself.
 *      layer 1
 *
 *   C1. A range is unchanged if no layer above Z says something of it, on either side: then both
 *       states read as Z does.
 *   C2. What is past the end of the older state is changed.
 *   C3. Whether a changed range is zeros is told by the newer state alone, down to the base if need
 *       be.
 *
 * No asserts for C1, C2 and C3: the bytes would have to be read.
 *
 * Nobody waits for the chains to stay: each call looks at them anew, as one of the readers of both
 * devices. While a chain of one is replaced, the common images can only become fewer, and more is
 * changed.
 */
#include "block/device/device.h"

#include <errno.h>

/* Both indexes, and the number of layers that they have in common. */
struct comparison {
    struct index *index, *older; /* NULL: nothing is common, and nothing is asked of it */
    unsigned common;
    uint64_t older_end; /* what is past it is changed */
};

static int comparison_begin(struct device *device, struct device *older,
                            struct comparison *comparison)
{
    *comparison = (struct comparison){.index = device->index, .older_end = UINT64_MAX};
    if (!older)
        return 0;
    comparison->older = older->index;
    comparison->older_end = device_size_bytes(older);
    comparison->common = index_common_layers(comparison->index, comparison->older);
    return comparison->common > 0 ? 0 : -ENXIO;
}

/* What the newer state reads as, once it is known that it changed. */
static int changed_map(const struct comparison *comparison, uint64_t offset,
                       struct device_difference *difference)
{
    struct chain_extent found = {.length = difference->length};
    int ret = index_map(comparison->index, offset, MAP_HOLES, &found);
    if (ret)
        return ret;
    *difference = (struct device_difference){found.length, true, found.kind != EXTENT_DATA};
    return 0;
}

/* Whether the older side says something (C1); its end is not in the range. */
static int older_map(const struct comparison *comparison, uint64_t offset,
                     struct device_difference *difference)
{
    struct chain_extent found = {.length = difference->length};
    int ret = index_map_above(comparison->older, comparison->common, offset, MAP_HOLES, &found);
    if (ret)
        return ret;
    difference->length = found.length;
    difference->is_changed = found.depth > 0;
    return 0;
}

static int comparison_map(const struct comparison *comparison, uint64_t offset,
                          struct device_difference *difference)
{
    bool is_past = offset >= comparison->older_end; /* C2 */
    if (!is_past && difference->length > comparison->older_end - offset)
        difference->length = comparison->older_end - offset;
    if (is_past)
        return changed_map(comparison, offset, difference);
    struct chain_extent found = {.length = difference->length};
    int ret = index_map_above(comparison->index, comparison->common, offset, MAP_HOLES, &found);
    if (ret)
        return ret;
    *difference = (struct device_difference){.length = found.length,
                                             .is_changed = found.depth > 0,
                                             .is_zero = found.kind == EXTENT_ZERO};
    if (difference->is_changed || !comparison->older)
        return 0;
    ret = older_map(comparison, offset, difference);
    return ret || !difference->is_changed ? ret : changed_map(comparison, offset, difference);
}

/* ---- as readers of both ---- */

struct reading {
    struct device *device, *older; /* `older` may be NULL */
    unsigned set, older_set;
};

static struct reading reading_begin(struct device *device, struct device *older)
{
    struct reading reading = {device, older, readers_enter(&device->readers), 0};
    if (older)
        reading.older_set = readers_enter(&older->readers);
    return reading;
}

static void reading_end(const struct reading *reading)
{
    if (reading->older)
        readers_leave(&reading->older->readers, reading->older_set);
    readers_leave(&reading->device->readers, reading->set);
}

int device_map_since(struct device *device, struct device *older, uint64_t offset,
                     struct device_difference *difference)
{
    struct comparison comparison;
    struct reading reading = reading_begin(device, older);
    int ret = device_check_range(device, offset, difference->length);
    if (ret == 0)
        ret = comparison_begin(device, older, &comparison);
    if (ret == 0)
        ret = comparison_map(&comparison, offset, difference);
    reading_end(&reading);
    return ret;
}

/* The least unit of the layers above the common ones, at most `most`. */
static uint64_t layers_granularity(const struct index *index, unsigned common, uint64_t most)
{
    unsigned count;
    struct node *const *layers = index_layers(index, &count);
    for (unsigned i = common; i < count; i++) {
        uint64_t unit = layers[i]->copy_bytes ? layers[i]->copy_bytes : BLOCK_SECTOR_BYTES;
        if (most == 0 || unit < most)
            most = unit;
    }
    return most;
}

uint64_t device_granularity_since(struct device *device, struct device *older)
{
    uint64_t unit = 0;
    struct comparison comparison;
    struct reading reading = reading_begin(device, older);
    if (comparison_begin(device, older, &comparison) == 0) {
        unit = layers_granularity(comparison.index, comparison.common, 0);
        if (comparison.older)
            unit = layers_granularity(comparison.older, comparison.common, unit);
        if (unit == 0) /* nothing can have changed */
            unit = layers_granularity(comparison.index, comparison.common - 1, 0);
    }
    reading_end(&reading);
    return unit;
}
