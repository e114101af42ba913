/* SPDX-License-Identifier: Apache-2.0
 *
 * See hash-table.h.
 */
#include "base/hash-table.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 256 };

/* The finalizer of splitmix64. */
uint64_t hash_mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    for (const unsigned char *at = bytes; length > 0; length--)
        hash = (hash ^ *at++) * 0x100000001b3;
    return hash;
}

uint64_t hash_text(const char *text)
{
    return hash_mix(hash_bytes(HASH_START, text, strlen(text)));
}

static struct hash_link **hash_slot(const struct hash_table *table, uint64_t hash)
{
    return &table->slots[hash & (table->slot_count - 1)];
}

int hash_table_init(struct hash_table *table)
{
    *table = (struct hash_table){calloc(SLOTS_MIN, sizeof(struct hash_link *)), SLOTS_MIN, 0};
    return table->slots ? 0 : -1;
}

void hash_table_destroy(struct hash_table *table)
{
    free(table->slots);
    *table = (struct hash_table){0};
}

static void hash_push(struct hash_table *table, struct hash_link *link)
{
    struct hash_link **slot = hash_slot(table, link->hash);
    link->next = *slot;
    *slot = link;
}

static void hash_grow(struct hash_table *table)
{
    struct hash_table larger = {calloc(2 * table->slot_count, sizeof(struct hash_link *)),
                                2 * table->slot_count, table->count};
    if (!larger.slots)
        return;
    for (size_t i = 0; i < table->slot_count; i++)
        while (table->slots[i]) {
            struct hash_link *link = table->slots[i];
            table->slots[i] = link->next;
            hash_push(&larger, link);
        }
    free(table->slots);
    *table = larger;
}

void hash_table_add(struct hash_table *table, struct hash_link *link)
{
    if (table->count >= table->slot_count)
        hash_grow(table);
    hash_push(table, link);
    table->count++;
}

void hash_table_remove(struct hash_table *table, struct hash_link *link)
{
    struct hash_link **slot = hash_slot(table, link->hash);
    while (*slot != link)
        slot = &(*slot)->next;
    *slot = link->next;
    table->count--;
}

struct hash_link *hash_table_find(const struct hash_table *table, uint64_t hash)
{
    return *hash_slot(table, hash);
}
