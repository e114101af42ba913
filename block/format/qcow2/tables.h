/* SPDX-License-Identifier: Apache-2.0
 *
 * The L2 tables that some L1 tables reference, each once.
 */
#ifndef BLOCK_FORMAT_QCOW2_TABLES_H
#define BLOCK_FORMAT_QCOW2_TABLES_H

#include "block/format/qcow2/state.h"

struct qcow2_table {
    uint64_t offset; /* 0: none */
    uint64_t references;
};

struct qcow2_tables {
    struct qcow2_table *slots;
    size_t count, room;
};

/* Counts one more reference to the table at `offset`, which is not 0. 0 or -ENOMEM. */
int qcow2_tables_note(struct qcow2_tables *tables, uint64_t offset);
void qcow2_tables_free(struct qcow2_tables *tables);

/* Reads a table of 8-byte entries into host byte order; past the end of the file they are zeros.
 * Holes are not read: tables of new images are little else, and reading them would fill the page
 * cache. *table: heap. 0 or -errno. */
int qcow2_table_load(int fd, uint64_t offset, uint64_t entries, uint64_t **table);

/* The same without the zeros at its end. *entries: in: in the file; out: in memory. */
int qcow2_table_load_used(int fd, uint64_t offset, uint64_t *entries, uint64_t **table);

/* Whether that range is a hole of the file, as far as the file system reports holes. */
bool qcow2_is_hole(const struct qcow2 *q, uint64_t offset, uint64_t bytes);

#endif
