/* SPDX-License-Identifier: Apache-2.0
 *
 * The set of metadata clusters: a hash table of cluster numbers with flags.
 *
 *     clusters: open addressing, linear probing; 0 is empty
 *     (cluster 0, the header, is always metadata)
 *
 *   M1  The table is at most half full, so that every probe ends at an empty slot.
 *   M2  Each cluster is in the table at most once; its slot is reachable from its hash without a
 *       gap.
 */
#include "block/format/qcow2/metadata.h"

#define METADATA_RETIRED   (1ULL << 63) /* the table that was there has moved */
#define METADATA_HAS_SPACE (1ULL << 62) /* its disk space is allocated (space.c) */
#define METADATA_FLAGS     (METADATA_RETIRED | METADATA_HAS_SPACE)

/* Returns the slot of `cluster`, or the empty one where it belongs. */
static uint64_t *metadata_place(const struct qcow2_metadata *metadata, uint64_t cluster)
{
    assert(!(cluster & METADATA_FLAGS) && metadata->count * 2 <= metadata->room); /* M1 */
    uint64_t at = (cluster * 0x9e3779b97f4a7c15ULL >> 20) % metadata->room;
    while (metadata->clusters[at] && (metadata->clusters[at] & ~METADATA_FLAGS) != cluster)
        at = (at + 1) % metadata->room;
    return &metadata->clusters[at];
}

static void metadata_put(struct qcow2_metadata *metadata, uint64_t entry)
{
    uint64_t *place = metadata_place(metadata, entry & ~METADATA_FLAGS);
    assert(!*place); /* M2 */
    *place = entry;
}

static int metadata_grow(struct qcow2_metadata *metadata)
{
    struct qcow2_metadata bigger = {.room = metadata->room ? metadata->room * 2 : 64};
    bigger.clusters = calloc(bigger.room, sizeof(*bigger.clusters));
    if (!bigger.clusters)
        return -ENOMEM;
    for (size_t i = 0; i < metadata->room; i++)
        if (metadata->clusters[i])
            metadata_put(&bigger, metadata->clusters[i]);
    bigger.count = metadata->count;
    assert(bigger.count * 2 < bigger.room); /* M1 */
    free(metadata->clusters);
    *metadata = bigger;
    return 0;
}

int qcow2_metadata_add(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_metadata *metadata = &q->metadata;
    if (cluster == 0)
        return 0;
    if (metadata->count * 2 >= metadata->room) {
        int ret = metadata_grow(metadata);
        if (ret)
            return ret;
    }
    uint64_t *place = metadata_place(metadata, cluster);
    metadata->count += !*place;
    *place = cluster;
    assert(metadata->count * 2 <= metadata->room); /* M1 */
    return 0;
}

int qcow2_metadata_add_range(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits;
    for (uint64_t i = 0; i < qcow2_clusters(q, bytes); i++) {
        if (qcow2_metadata_has(q, first + i, 1))
            return -EEXIST;
        int ret = qcow2_metadata_add(q, first + i);
        if (ret)
            return ret;
    }
    return 0;
}

void qcow2_metadata_remove(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_metadata *metadata = &q->metadata;
    uint64_t *place = metadata->room ? metadata_place(metadata, cluster) : NULL;
    if (!place || !*place)
        return;
    assert(metadata->count > 0);
    *place = 0;
    metadata->count--;
    /* Entries that were displaced by this one move back. */
    size_t at = (size_t)(place - metadata->clusters);
    for (at = (at + 1) % metadata->room; metadata->clusters[at]; at = (at + 1) % metadata->room) {
        uint64_t moved = metadata->clusters[at];
        metadata->clusters[at] = 0;
        metadata_put(metadata, moved);
    }
}

bool qcow2_metadata_has(const struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    for (uint64_t i = cluster; i < cluster + count; i++)
        if (i == 0 || (q->metadata.room && *metadata_place(&q->metadata, i)))
            return true;
    return false;
}

void qcow2_metadata_retire(struct qcow2 *q, uint64_t cluster)
{
    if (cluster && qcow2_metadata_has(q, cluster, 1))
        *metadata_place(&q->metadata, cluster) |= METADATA_RETIRED;
}

bool qcow2_metadata_is_retired(const struct qcow2 *q, uint64_t cluster)
{
    return q->metadata.room && *metadata_place(&q->metadata, cluster) & METADATA_RETIRED;
}

bool qcow2_metadata_has_space(const struct qcow2 *q, uint64_t cluster)
{
    return q->metadata.room && *metadata_place(&q->metadata, cluster) & METADATA_HAS_SPACE;
}

void qcow2_metadata_set_space(struct qcow2 *q, uint64_t cluster)
{
    if (cluster && qcow2_metadata_has(q, cluster, 1))
        *metadata_place(&q->metadata, cluster) |= METADATA_HAS_SPACE;
}
