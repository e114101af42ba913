/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole walks of an image: which L2 tables its L1 tables name, and how often. Internal snapshots share tables, and a
 * hostile image has one named by every entry: a walk collects first and then reads each table once, so that it costs
 * what the file has, not what its entries multiply it to.
 *
 *     slots: open addressing by the table's offset; 0 is empty
 */
#include "block/format/qcow2/tables.h"

#include <unistd.h>

static struct qcow2_table *table_slot(const struct qcow2_tables *tables, uint64_t offset)
{
    size_t at = (offset * 0x9e3779b97f4a7c15ULL >> 20) % tables->room;
    while (tables->slots[at].offset && tables->slots[at].offset != offset)
        at = (at + 1) % tables->room;
    return &tables->slots[at];
}

static int tables_grow(struct qcow2_tables *tables)
{
    struct qcow2_tables bigger = {.room = tables->room ? tables->room * 2 : 64};
    bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < tables->room; i++)
        if (tables->slots[i].offset)
            *table_slot(&bigger, tables->slots[i].offset) = tables->slots[i];
    bigger.count = tables->count;
    free(tables->slots);
    *tables = bigger;
    return 0;
}

int qcow2_tables_note(struct qcow2_tables *tables, uint64_t offset)
{
    if (tables->count * 2 >= tables->room) {
        int ret = tables_grow(tables);
        if (ret)
            return ret;
    }
    struct qcow2_table *slot = table_slot(tables, offset);
    tables->count += !slot->offset;
    slot->offset = offset;
    slot->references++;
    return 0;
}

void qcow2_tables_free(struct qcow2_tables *tables)
{
    free(tables->slots);
    *tables = (struct qcow2_tables){0};
}

bool qcow2_table_is_hole(const struct qcow2 *q, uint64_t offset)
{
    off_t data = lseek(q->fd, (off_t)offset, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + q->cluster_bytes;
}
