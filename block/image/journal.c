/* SPDX-License-Identifier: Apache-2.0
 *
 * See journal.h. The file, in the byte order of the machine (it never leaves it):
 *
 *     0                 struct header
 *     HEADER_BYTES      segment 0, segment 1, ... segment 63: SEGMENT_BYTES each
 *     segment           its number + 1, then SEGMENT_RECORDS records
 *
 * Records are numbered from SEGMENT_RECORDS on; record r is in the segment of number
 * r / SEGMENT_RECORDS. A segment occupies the lowest free slot of the file. So a journal that is
 * flushed often stays small; another one grows, by fallocate, when room is reserved, and a store
 * into the mapping never needs unallocated memory.
 *
 *     LOADED --journal_resume--> APPENDING --journal_close--> (closed)
 *     journal_create ---------------^
 *
 * `head` and `tail` are the numbers of the first record and of the one after the last.
 *
 * J1. head <= mark <= tail, and all records between head and tail fit into the segments.
 * J2. A record is complete before `tail` passes it. No assert: another process checks, by `check`.
 * J3. `head` passes a record before its segment is used again: a segment is free or has records, or
 *     the next record goes into it.
 * J4. A change appends only within room that was reserved, so a journal never overflows.
 */
#include "block/image/journal.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define JOURNAL_MAGIC 0x314c4e524a474e53ULL /* "SNGJRNL1" */

enum {
    JOURNAL_VERSION = 2,
    JOURNAL_VERSION_NAMELESS = 1, /* of a daemon that did not record identities */
    HEADER_BYTES = 8192,
    SEGMENT_BYTES = 64 << 10,
    SEGMENTS_MAX = 64,
    SEGMENTS_MIN = 1, /* from the beginning, so that JOURNAL_RESERVE_MAX always fits once empty */
    FILE_BYTES = HEADER_BYTES + SEGMENTS_MAX * SEGMENT_BYTES,
    SEGMENT_RECORDS = SEGMENT_BYTES / sizeof(struct journal_record) - 1,
    LATEST_BITS = 14,
};
static_assert(sizeof(struct journal_record) == 48, "journal record");
static_assert(JOURNAL_RESERVE_MAX <= SEGMENT_RECORDS, "journal room");

struct header {
    _Atomic uint64_t magic; /* written last */
    uint32_t version;
    uint32_t segments; /* that have memory */
    _Atomic uint64_t head, tail;
    char boot_id[40];
    char format[64];
    char path[PATH_MAX];
    char identity[FILE_IDENTITY_BYTES]; /* from version 2 on */
    _Atomic uint32_t is_open;           /* a process appends to it, or has died since */
};
static_assert(sizeof(struct header) <= HEADER_BYTES, "journal header");

struct segment {
    uint64_t number; /* + 1; 0: not in use */
    uint64_t unused[5];
    struct journal_record records[SEGMENT_RECORDS];
};
static_assert(sizeof(struct segment) <= SEGMENT_BYTES, "journal segment");

struct journal {
    struct header *header; /* the mapping */
    int dirfd;             /* borrowed */
    bool is_loaded;        /* to be replayed: takes no records */
    bool cannot_grow;
    uint64_t mark;
    size_t reserved;
    uint64_t free_segments;              /* a bit for each that has memory */
    unsigned char slot_of[SEGMENTS_MAX]; /* of the segments in use, by number modulo their count */
    uint64_t *latest; /* by hash of the place: perhaps its latest record; NULL before the first */
    char name[JOURNAL_NAME_BYTES];
};

enum journal_phase { JOURNAL_LOADED, JOURNAL_APPENDING };

static enum journal_phase journal_phase(const struct journal *journal)
{
    return journal->is_loaded ? JOURNAL_LOADED : JOURNAL_APPENDING;
}

static void journal_assert_state(const struct journal *journal)
{
    const struct header *header = journal->header;
    uint64_t head = atomic_load_explicit(&header->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    (void)head;
    (void)tail;
    assert(head <= tail && tail - head <= (uint64_t)SEGMENTS_MAX * SEGMENT_RECORDS); /* J1 */
    if (journal_phase(journal) == JOURNAL_LOADED)
        return;
    assert(head <= journal->mark && journal->mark <= tail); /* J1 */
    assert(header->segments == SEGMENTS_MAX ||
           journal->free_segments >> header->segments == 0); /* J3 */
}

/* ---- records ---- */

static struct segment *segment_at(const struct journal *journal, unsigned slot)
{
    return (struct segment *)(void *)((char *)journal->header + HEADER_BYTES +
                                      (size_t)slot * SEGMENT_BYTES);
}

static struct journal_record *record_at(const struct journal *journal, uint64_t number)
{
    unsigned slot = journal->slot_of[number / SEGMENT_RECORDS % SEGMENTS_MAX];
    return &segment_at(journal, slot)->records[number % SEGMENT_RECORDS];
}

static uint64_t record_check(const struct journal_record *record, uint64_t number)
{
    const uint64_t words[] = {number, record->place, record->old[0], record->old[1],
                              record->new[0]};
    uint64_t hash = JOURNAL_MAGIC;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 32;
    }
    return hash;
}

/* NULL when memory is short: then no changes are merged. */
static uint64_t *latest_slot(struct journal *journal, uint64_t place)
{
    if (!journal->latest)
        journal->latest = calloc(1U << LATEST_BITS, sizeof(*journal->latest));
    return journal->latest ? &journal->latest[place * 0x9e3779b97f4a7c15ULL >> (64 - LATEST_BITS)]
                           : NULL;
}

/* ---- files ---- */

int journal_boot_id(char boot_id[BOOT_ID_BYTES], struct err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char known[BOOT_ID_BYTES]; /* once it was read; it begins with no 0 */
    LOCK_GUARD(&lock);
    if (!*known) {
        CLEANUP_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, boot_id, BOOT_ID_BYTES) != BOOT_ID_BYTES)
            return err_set(err, ErrOpenFileFailed, errno,
                           "the boot id of this system cannot be read");
        memcpy(known, boot_id, BOOT_ID_BYTES);
    }
    memcpy(boot_id, known, BOOT_ID_BYTES);
    return 0;
}

void journal_name_fill(const struct identity *identity, const char *suffix,
                       char name[JOURNAL_NAME_BYTES])
{
    assert(strlen(identity->text) + strlen(suffix) < JOURNAL_NAME_BYTES);
    strcpy(stpcpy(name, identity->text), suffix);
}

int journal_name(int fd, const char *suffix, char name[JOURNAL_NAME_BYTES])
{
    struct identity identity;
    int ret = identity_of(fd, &identity);
    if (ret == 0)
        journal_name_fill(&identity, suffix, name);
    return ret;
}

int journal_image_of(int fd, struct journal_image *image)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) != 0)
        return -errno;
    *image = (struct journal_image){
        .dev_major = stx.stx_dev_major,
        .dev_minor = stx.stx_dev_minor,
        .ino = stx.stx_ino,
        .birth_ns = (unsigned long long)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec,
    };
    return identity_of(fd, &image->identity);
}

bool journal_name_is_of(const char *name, const struct journal_image *image)
{
    unsigned major_, minor_;
    unsigned long long ino, birth_ns;
    if (sscanf(name, "%x.%x-%llx-%llx.", &major_, &minor_, &ino, &birth_ns) == 4)
        return image->ino == ino && image->birth_ns == birth_ns &&
               (birth_ns || (image->dev_major == major_ && image->dev_minor == minor_));
    size_t length = strlen(image->identity.text);
    return strncmp(name, image->identity.text, length) == 0 && name[length] == '.';
}

unsigned long long journal_name_ino(const char *name)
{
    unsigned long long ino;
    return sscanf(name, "%*x.%*x-%llx-", &ino) == 1 || sscanf(name, "%llx-", &ino) == 1 ? ino : 0;
}

/* Allocates the next slot. */
static bool journal_grow(struct journal *journal)
{
    unsigned slot = journal->header->segments;
    if (slot == SEGMENTS_MAX || journal->cannot_grow)
        return false;
    CLEANUP_CLOSE int fd = openat(journal->dirfd, journal->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    off_t offset = HEADER_BYTES + (off_t)slot * SEGMENT_BYTES;
    if (fd < 0 || posix_fallocate(fd, offset, SEGMENT_BYTES) != 0) {
        journal->cannot_grow = true;
        log_warning("journal '%s' of image '%s' cannot grow; there will be more flushes",
                    journal->name, journal->header->path);
        return false;
    }
    journal->header->segments++;
    journal->free_segments |= 1ULL << slot;
    return true;
}

static struct journal *journal_map(int dirfd, const char *name, int fd)
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

static void journal_unmap(struct journal *journal)
{
    munmap(journal->header, FILE_BYTES);
    free(journal->latest);
    free(journal);
}
CLEANUP_DEFINE(journal, struct journal *, journal_unmap)

/* Copies the identity from the journal's name. */
static void journal_fill_identity(struct journal *journal)
{
    struct header *header = journal->header;
    size_t length = (size_t)(strchr(journal->name, '.') - journal->name);
    memcpy(header->identity, journal->name, length);
    header->identity[length] = 0;
    header->version = JOURNAL_VERSION;
}

static int journal_fill_header(struct journal *journal, const char *path, const char *format,
                               struct err *err)
{
    struct header *header = journal->header;
    if (strlen(path) >= sizeof(header->path) || strlen(format) >= sizeof(header->format))
        return err_set(err, ErrOpenFileFailed, ENAMETOOLONG, "image '%s' cannot have a journal",
                       path);
    if (journal_boot_id(header->boot_id, err) != 0)
        return -1;
    strcpy(header->path, path);
    strcpy(header->format, format);
    journal_fill_identity(journal);
    header->segments = SEGMENTS_MIN;
    journal->free_segments = (1ULL << SEGMENTS_MIN) - 1;
    journal->mark = SEGMENT_RECORDS;
    atomic_store(&header->head, SEGMENT_RECORDS);
    atomic_store(&header->tail, SEGMENT_RECORDS);
    atomic_store(&header->is_open, 1);
    atomic_store(&header->magic, JOURNAL_MAGIC);
    return 0;
}

static int journal_error(const char *path, int errnum, struct err *err)
{
    if (errnum == EEXIST)
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' already has a journal with unflushed writes", path);
    return err_set(err, ErrOpenFileFailed, errnum,
                   "image '%s' cannot have a journal in the runtime directory", path);
}

struct journal *journal_create(int dirfd, const struct identity *image, const char *path,
                               const char *format, struct err *err)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name_fill(image, JOURNAL_SUFFIX, name);
    CLEANUP_CLOSE int fd =
        openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        journal_error(path, errno, err);
        return NULL;
    }
    int ret = ftruncate(fd, FILE_BYTES) != 0 ? -errno : 0;
    if (ret == 0)
        ret = -posix_fallocate(fd, 0, HEADER_BYTES + SEGMENTS_MIN * SEGMENT_BYTES);
    CLEANUP(journal) struct journal *journal = ret ? NULL : journal_map(dirfd, name, fd);
    if (!journal)
        journal_error(path, ret ? -ret : ENOMEM, err);
    else if (journal_fill_header(journal, path, format, err) == 0)
        return steal(journal);
    unlinkat(dirfd, name, 0);
    return NULL;
}

void journal_close(struct journal *journal, bool discard)
{
    if (!journal)
        return;
    if (discard || journal_is_empty(journal))
        unlinkat(journal->dirfd, journal->name, 0);
    else if (!journal->is_loaded)
        log_warning("image '%s' is closed with unflushed changes; journal '%s' keeps them",
                    journal->header->path, journal->name);
    if (!journal->is_loaded)
        atomic_store(&journal->header->is_open, 0);
    journal_unmap(journal);
}

bool journal_is_empty(const struct journal *journal)
{
    return atomic_load(&journal->header->head) == atomic_load(&journal->header->tail);
}

const char *journal_path(const struct journal *journal)
{
    return journal->header->path;
}

const char *journal_format(const struct journal *journal)
{
    return journal->header->format;
}

/* ---- appending ---- */

/* Free room, in records. */
static size_t journal_room(const struct journal *journal)
{
    size_t used = atomic_load(&journal->header->tail) % SEGMENT_RECORDS;
    return (size_t)__builtin_popcountll(journal->free_segments) * SEGMENT_RECORDS +
           (used ? SEGMENT_RECORDS - used : 0);
}

/* An empty journal begins with a whole segment again, if it has not. Until `magic` is back it is
 * void, for a daemon that finds it, as it was. */
static bool journal_rewind(struct journal *journal)
{
    struct header *header = journal->header;
    uint64_t tail = atomic_load(&header->tail);
    if (!journal_is_empty(journal) || tail % SEGMENT_RECORDS == 0)
        return false;
    unsigned slot = journal->slot_of[tail / SEGMENT_RECORDS % SEGMENTS_MAX];
    tail += SEGMENT_RECORDS - tail % SEGMENT_RECORDS;
    atomic_store(&header->magic, 0);
    segment_at(journal, slot)->number = 0;
    journal->free_segments |= 1ULL << slot;
    journal->mark = tail;
    atomic_store(&header->head, tail);
    atomic_store(&header->tail, tail);
    atomic_store(&header->magic, JOURNAL_MAGIC);
    journal_assert_state(journal);
    return true;
}

bool journal_reserve(struct journal *journal, size_t count)
{
    assert(count <= JOURNAL_RESERVE_MAX);
    if (!journal || journal->is_loaded)
        return true;
    while (journal_room(journal) < journal->reserved + count)
        if (!journal_grow(journal) && !journal_rewind(journal))
            return false;
    journal->reserved += count;
    return true;
}

void journal_unreserve(struct journal *journal, size_t count)
{
    if (!journal || journal->is_loaded)
        return;
    assert(journal->reserved >= count); /* J4 */
    journal->reserved -= count;
}

static void segment_begin(struct journal *journal, uint64_t number)
{
    assert(journal->free_segments); /* J4 */
    unsigned slot = (unsigned)__builtin_ctzll(journal->free_segments);
    journal->free_segments &= ~(1ULL << slot);
    journal->slot_of[number % SEGMENTS_MAX] = (unsigned char)slot;
    segment_at(journal, slot)->number = number + 1;
}

/* The record of this generation into which the change can be merged, or NULL. */
static struct journal_record *record_to_merge(const struct journal *journal, uint64_t latest,
                                              uint64_t place, const uint64_t old[2],
                                              const uint64_t new[2])
{
    if (latest < journal->mark || latest >= atomic_load(&journal->header->tail) || old[0] != new[0])
        return NULL;
    struct journal_record *record = record_at(journal, latest);
    bool follows = record->place == place && record->new[0] == old[0] && record->new[1] == old[1];
    return follows ? record : NULL;
}

void journal_append(struct journal *journal, uint64_t place, const uint64_t old[2],
                    const uint64_t new[2])
{
    if (!journal || journal->is_loaded || (old[0] == new[0] && old[1] == new[1]))
        return;
    assert(journal->reserved > 0); /* J4 */
    uint64_t *latest = latest_slot(journal, place);
    struct journal_record *record =
        latest ? record_to_merge(journal, *latest, place, old, new) : NULL;
    if (record) {
        __atomic_store_n(&record->new[1], new[1], __ATOMIC_RELEASE);
        return;
    }
    uint64_t number = atomic_load_explicit(&journal->header->tail, memory_order_relaxed);
    if (number % SEGMENT_RECORDS == 0)
        segment_begin(journal, number / SEGMENT_RECORDS);
    record = record_at(journal, number);
    *record =
        (struct journal_record){.place = place, .old = {old[0], old[1]}, .new = {new[0], new[1]}};
    record->check = record_check(record, number);
    if (latest)
        *latest = number;
    atomic_store_explicit(&journal->header->tail, number + 1, memory_order_release);
}

void journal_mark(struct journal *journal)
{
    if (!journal)
        return;
    journal->mark = atomic_load(&journal->header->tail);
    journal_assert_state(journal);
}

void journal_drop(struct journal *journal)
{
    if (!journal)
        return;
    uint64_t head = atomic_load(&journal->header->head), mark = journal->mark;
    atomic_store_explicit(&journal->header->head, mark, memory_order_release);
    for (uint64_t i = head / SEGMENT_RECORDS; i < mark / SEGMENT_RECORDS && !journal->is_loaded;
         i++)
        journal->free_segments |= 1ULL << journal->slot_of[i % SEGMENTS_MAX];
    journal_assert_state(journal);
}

bool journal_is_filling(const struct journal *journal)
{
    if (!journal || journal_is_empty(journal))
        return false;
    unsigned there = journal->header->segments;
    unsigned used = there - (unsigned)__builtin_popcountll(journal->free_segments);
    return used * 4 > (journal->cannot_grow ? there : SEGMENTS_MAX) * 3;
}

/* ---- loading ---- */

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
    assert(journal_phase(journal) == JOURNAL_LOADED);
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
