/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal-load.h.
 */
#include "block/image/journal-load.h"

#include "base/log.h"
#include "block/image/journal-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Finds the slot of each segment. False if a segment in use is missing. */
static bool segments_find(struct journal *journal)
{
    uint64_t found = 0;
    uint64_t first = atomic_load(&journal->header->head) / SEGMENT_RECORDS;
    uint64_t end = (atomic_load(&journal->header->tail) + SEGMENT_RECORDS - 1) / SEGMENT_RECORDS;
    if (end < first || end - first > SEGMENTS_MAX || journal->header->segments > SEGMENTS_MAX)
        return false;
    for (unsigned slot = 0; slot < journal->header->segments; slot++) {
        uint64_t number = segment_at(journal, slot)->number - 1; /* of an unused one: too large */
        if (number < first || number >= end)
            continue;
        journal->slot_of[number % SEGMENTS_MAX] = (unsigned char)slot;
        found |= 1ULL << number % SEGMENTS_MAX;
    }
    for (uint64_t number = first; number < end; number++)
        if (!(found >> number % SEGMENTS_MAX & 1) && !journal_is_empty(journal))
            return false;
    return true;
}

static bool journal_has_its_name(const struct journal *journal)
{
    const char *identity = journal->header->identity;
    size_t length = strnlen(identity, FILE_IDENTITY_BYTES);
    return strncmp(journal->name, identity, length) == 0 &&
           strcmp(journal->name + length, JOURNAL_SUFFIX) == 0;
}

static enum journal_state journal_judge(struct journal *journal, struct err *err)
{
    const struct header *header = journal->header;
    char boot_id[BOOT_ID_BYTES];
    uint64_t magic = atomic_load(&header->magic);
    if (magic == 0) /* records come after the header is whole: there are none */
        return JOURNAL_VOID;
    if (journal_boot_id(boot_id, err) != 0)
        return JOURNAL_FOREIGN;
    if (magic == JOURNAL_MAGIC && memcmp(header->boot_id, boot_id, BOOT_ID_BYTES) != 0)
        return JOURNAL_VOID;
    bool is_named = header->version == JOURNAL_VERSION;
    if (magic != JOURNAL_MAGIC || (!is_named && header->version != JOURNAL_VERSION_NAMELESS) ||
        !memchr(header->path, 0, sizeof(header->path)) ||
        !memchr(header->format, 0, sizeof(header->format)))
        err_set(err, ErrOpenFileFailed, 0, "it is not a journal of this version of the daemon");
    else if (is_named && !journal_has_its_name(journal))
        err_set(err, ErrOpenFileFailed, 0, "its name is not that of its image");
    else if (!segments_find(journal))
        err_set(err, ErrOpenFileFailed, 0, "it is damaged");
    else
        return JOURNAL_GOOD;
    return JOURNAL_FOREIGN;
}

struct journal *journal_load(int dirfd, const char *name, bool at_start, enum journal_state *state,
                             struct err *err)
{
    struct stat st;
    *state = JOURNAL_FOREIGN;
    CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(err, ErrOpenFileFailed, errno, "it cannot be opened");
        return NULL;
    }
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        *state = JOURNAL_VOID; /* killed before it had its length */
    else if (!S_ISREG(st.st_mode) || st.st_size != FILE_BYTES)
        err_set(err, ErrOpenFileFailed, 0, "it does not have a journal's length");
    if (!S_ISREG(st.st_mode) || st.st_size != FILE_BYTES)
        return NULL;
    CLEANUP(journal) struct journal *journal = journal_map(dirfd, name, fd);
    if (!journal) {
        err_set(err, ErrOutOfResources, ENOMEM, "it cannot be mapped");
        return NULL;
    }
    journal->is_loaded = true;
    *state = journal_judge(journal, err);
    if (*state == JOURNAL_GOOD && at_start)
        atomic_store(&journal->header->is_open, 0);
    else if (*state == JOURNAL_GOOD && atomic_load(&journal->header->is_open))
        *state = journal_is_empty(journal) ? JOURNAL_IDLE : JOURNAL_LIVE;
    return *state == JOURNAL_GOOD ? steal(journal) : NULL;
}

int journal_rename(struct journal *journal, int image_fd, const char *path)
{
    char name[JOURNAL_NAME_BYTES];
    int ret = journal_name(image_fd, JOURNAL_SUFFIX, name);
    if (ret == 0 && strlen(path) >= sizeof(journal->header->path))
        ret = -ENAMETOOLONG;
    if (ret == 0 && strcmp(name, journal->name) != 0 &&
        renameat2(journal->dirfd, journal->name, journal->dirfd, name, RENAME_NOREPLACE) != 0)
        ret = -errno;
    if (ret)
        return ret;
    /* The name first: what is of version 1 is good under either. */
    strcpy(journal->name, name);
    journal_fill_identity(journal);
    if (strcmp(journal->header->path, path) != 0)
        strcpy(journal->header->path, path);
    return 0;
}

int journal_records(const struct journal *journal, struct journal_record **records, size_t *count,
                    struct err *err)
{
    uint64_t head = atomic_load(&journal->header->head);
    uint64_t tail = atomic_load(&journal->header->tail);
    CLEANUP_FREE struct journal_record *copies = malloc((tail - head + 1) * sizeof(*copies));
    if (!copies)
        return err_set(err, ErrOutOfResources, ENOMEM, "there is no memory for its records");
    for (uint64_t number = head; number < tail; number++) {
        const struct journal_record *record = record_at(journal, number);
        if (record->check == record_check(record, number)) {
            copies[number - head] = *record;
            continue;
        }
        if (number + 1 != tail)
            return err_set(err, ErrOpenFileFailed, 0, "it is damaged");
        log_warning("journal '%s': its last record is torn and ignored", journal->name);
        tail--;
    }
    *records = steal(copies);
    *count = tail - head;
    return 0;
}

void journal_resume(struct journal *journal, size_t count)
{
    struct header *header = journal->header;
    assert(journal->is_loaded);
    uint64_t head = atomic_load(&header->head), tail = head + count;
    assert(tail <= atomic_load(&header->tail));
    atomic_store(&header->tail, tail);
    journal->mark = tail;
    journal->free_segments = header->segments < 64 ? (1ULL << header->segments) - 1 : UINT64_MAX;
    for (uint64_t i = head / SEGMENT_RECORDS; i * SEGMENT_RECORDS < tail; i++)
        journal->free_segments &= ~(1ULL << journal->slot_of[i % SEGMENTS_MAX]);
    for (unsigned place = 0; place < header->segments; place++)
        if (journal->free_segments >> place & 1)
            segment_at(journal, place)->number = 0; /* that of a torn record may be given again */
    atomic_store(&header->is_open, 1);
    journal->is_loaded = false;
    journal_assert_state(journal);
}
