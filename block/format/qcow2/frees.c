/* SPDX-License-Identifier: Apache-2.0
 *
 * References to host clusters that changes have removed, queued until the flush that makes the
 * changes durable (release.c). Until then the cluster stays counted, so no one else can allocate
 * it.
 */
#include "block/format/qcow2/frees.h"

int qcow2_release_later(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_frees *frees = &q->frees;
    if (frees->count == frees->room) {
        size_t room = frees->room ? frees->room * 2 : 64;
        uint64_t *clusters = realloc(frees->clusters, room * sizeof(*clusters));
        if (!clusters)
            return -ENOMEM;
        frees->clusters = clusters;
        frees->room = room;
    }
    assert(frees->count < frees->room);
    frees->clusters[frees->count++] = cluster;
    return 0;
}
