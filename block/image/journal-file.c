/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal-file.h, and journal.h for the invariants.
 */
#include "block/image/journal-file.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

void journal_assert_state(const struct journal *journal)
{
    const struct header *header = journal->header;
    uint64_t head = atomic_load_explicit(&header->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    (void)head;
    (void)tail;
    assert(head <= tail && tail - head <= (uint64_t)SEGMENTS_MAX * SEGMENT_RECORDS); /* J1 */
    if (journal->is_loaded)
        return;
    assert(head <= journal->mark && journal->mark <= tail); /* J1 */
    assert(header->segments == SEGMENTS_MAX ||
           journal->free_segments >> header->segments == 0); /* J3 */
    assert(!header->is_short || header->segments == 1);
}

struct journal *journal_map(int dirfd, const char *name, int fd)
{
    CLEANUP_FREE struct journal *journal = calloc(1, sizeof(*journal));
    if (!journal)
        return NULL;
    void *mapping = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED)
        return NULL;
    madvise(mapping, FILE_BYTES, MADV_RANDOM); /* a page at a time: reading ahead fills it all */
    journal->header = mapping;
    journal->dirfd = dirfd;
    snprintf(journal->name, sizeof(journal->name), "%s", name);
    return steal(journal);
}

void journal_unmap(struct journal *journal)
{
    munmap(journal->header, FILE_BYTES);
    free(journal->latest);
    free(journal);
}

void journal_fill_identity(struct journal *journal)
{
    struct header *header = journal->header;
    size_t length = (size_t)(strchr(journal->name, '.') - journal->name);
    memcpy(header->identity, journal->name, length);
    header->identity[length] = 0;
    header->version = JOURNAL_VERSION;
}
