/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables in the file as a whole. A walk of an image collects the L2 tables that its L1 tables
 * reference and then reads each one once: internal snapshots share tables, and a hostile image may
 * reference one table from every entry, so the cost must follow the file's size and not the number
 * of entries.
 *
 *     slots: open addressing by the table's offset; 0 is empty; at most half of them are used
 */
#include "block/format/qcow2/tables.h"

#include <unistd.h>

static struct qcow2_table *table_slot(const struct qcow2_tables *tables, uint64_t offset)
{
    assert(offset && tables->room > tables->count);
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
    assert(tables->count * 2 <= tables->room && slot->references > 0);
    return 0;
}

void qcow2_tables_free(struct qcow2_tables *tables)
{
    free(tables->slots);
    *tables = (struct qcow2_tables){0};
}

/* The first part of [*at, end) that the file system has data of, in whole words: *at, *part_end.
 * All of it where holes are not reported. False: there is none. */
static bool table_next_part(int fd, uint64_t *at, uint64_t end, uint64_t *part_end)
{
    const uint64_t mask = sizeof(uint64_t) - 1;
    *part_end = end;
    if (*at >= end)
        return false;
    const off_t data = lseek(fd, (off_t)*at, SEEK_DATA);
    if (data < 0)
        return errno != ENXIO;
    *at = (uint64_t)data & ~mask;
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole >= 0 && (uint64_t)hole < end)
        *part_end = ((uint64_t)hole + mask) & ~mask;
    return *at < end;
}

int qcow2_table_load(int fd, uint64_t offset, uint64_t entries, uint64_t **table)
{
    const uint64_t end = offset + entries * sizeof(uint64_t);
    CLEANUP_FREE uint64_t *words = calloc(entries ? entries : 1, sizeof(*words));
    if (!words)
        return -ENOMEM;
    for (uint64_t at = offset, part_end; table_next_part(fd, &at, end, &part_end); at = part_end) {
        uint64_t *word = words + (at - offset) / sizeof(*words);
        int ret = file_read_padded(fd, word, at, part_end - at);
        if (ret)
            return ret;
        for (; word < words + (part_end - offset) / sizeof(*words); word++)
            *word = be64toh(*word);
    }
    *table = steal(words);
    return 0;
}

int qcow2_table_load_used(int fd, uint64_t offset, uint64_t *entries, uint64_t **table)
{
    CLEANUP_FREE uint64_t *words = NULL;
    int ret = qcow2_table_load(fd, offset, *entries, &words);
    if (ret)
        return ret;
    while (*entries && !words[*entries - 1])
        --*entries;
    *table = malloc(*entries ? *entries * sizeof(*words) : 1);
    if (!*table)
        return -ENOMEM;
    memcpy(*table, words, *entries * sizeof(*words));
    return 0;
}

bool qcow2_is_hole(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    off_t data = lseek(q->fd, (off_t)offset, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + bytes;
}
