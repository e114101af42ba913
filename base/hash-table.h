/* SPDX-License-Identifier: Apache-2.0
 *
 * Hash tables of objects that have a link as a member (`link` below). They grow by doubling;
 * without memory for that the lists get longer, so that adding cannot fail. The caller locks.
 *
 *     for (struct hash_link *link = hash_table_find(&table, hash); link; link = link->next) {
 *         struct thing *thing = HASH_OBJECT(link, struct thing, link);
 *         ... whether it has the key: others have its slot, too
 *     }
 */
#ifndef BASE_HASH_TABLE_H
#define BASE_HASH_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct hash_link {
    struct hash_link *next;
    uint64_t hash; /* of the whole key; set by the caller before it is added */
};

struct hash_table {
    struct hash_link **slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

/* The object whose member `link` is. */
#define HASH_OBJECT(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

int hash_table_init(struct hash_table *table); /* -1 when memory is short */

/* Frees the table, not what is in it. A zeroed table is an empty one that is not initialised. */
void hash_table_destroy(struct hash_table *table);

void hash_table_add(struct hash_table *table, struct hash_link *link);
void hash_table_remove(struct hash_table *table, struct hash_link *link);

/* The newest object of a hash with the same slot, or NULL. */
struct hash_link *hash_table_find(const struct hash_table *table, uint64_t hash);

uint64_t hash_mix(uint64_t value);

/* FNV-1a: of more bytes after those that `hash` is of; HASH_START: of none. Names of staged files
 * depend on it. */
#define HASH_START 0xcbf29ce484222325ULL
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length);

/* The same of a text, mixed, for tables. */
uint64_t hash_text(const char *text);

#endif
