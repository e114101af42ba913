/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the qcow2 driver share. The format: qcow2 specification (QEMU, docs/interop/qcow2).
 *
 *     header -> refcount table -> refcount blocks      how many references each host cluster has
 *            -> L1 table -> L2 tables -> data clusters  where each guest cluster is
 *
 * In memory: the header's fields, the L1 table and the refcount table whole; of L2 tables and refcount blocks
 * slices of at most 4 KiB in a cache (qcow2/cache.c). Nothing of it goes to the file but in a flush.
 *
 * Write order. One flush writes, in this order, what had changed when it began:
 *
 *     guest data (written as it came)      refcount slices (counts that went up)
 *                       \                   /
 *                        fdatasync --> refcount table --> fdatasync     (only if a block or the table is new)
 *                                                             |
 *                        L2 slices, L1 entries  <-------------+
 *                                 |
 *                             fdatasync --> clusters let go may be used again; their counts go down
 *
 * So an entry that is on the disk always points at a cluster that is counted and whose data is there, whichever of
 * the writes after the last fdatasync reached the disk; what is lost to a crash is at most a leaked cluster.
 *
 * What a flush has not written yet is in the image's journal as well, if it has one: every change of an L2 entry
 * (qcow2_entry_set) and of an L1 entry (qcow2_table_make_writable). Counts need no records: they follow from the
 * entries (qcow2/replay.c). A generation of records is dropped after its batch is durable and before the clusters
 * that the batch let go may be used again: so no cluster that a record names is ever somebody else's, and no
 * reference that a record drops has been taken off its count. Room is reserved before anything is changed: a mapped
 * piece of a write needs one record for its table and one for each cluster, a cluster that is zeroed or discarded
 * two. A change that finds no room (qcow2_reserve) ends with NODE_NEEDS_ROOM; its caller leaves the fence that it is
 * in, flushes (qcow2_make_room) and makes the change again. So no flush ever runs inside a fence.
 *
 * A flush needs no space that is not taken before the change that it writes is acknowledged (qcow2/space.c).
 *
 * Locks, in the order they are taken: node->flush_lock, node->io_lock, lock. Requests hold io_lock shared from
 * their look at the tables to the end of their data I/O; a flush takes it exclusively, and lets go of it at once,
 * before it frees clusters, so that no request under way still uses a cluster that was let go.
 */
#ifndef BLOCK_FORMAT_QCOW2_QCOW2_H
#define BLOCK_FORMAT_QCOW2_QCOW2_H

#include "base/cleanup.h"
#include "block/image/driver.h"
#include "block/image/file-io.h"
#include "block/image/journal.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

/* ---- on disk: all numbers big-endian ---- */

#define QCOW2_MAGIC 0x514649fbU /* "QFI\xfb" */

struct qcow2_header_be {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_file_offset;
    uint32_t backing_file_size;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size;
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    /* Version 3. */
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order;
    uint32_t header_length;
    uint8_t compression_type;
    uint8_t padding[7];
};
static_assert(sizeof(struct qcow2_header_be) == 112, "qcow2 header");

enum {
    QCOW2_HEADER_V2_BYTES = 72,
    QCOW2_HEADER_V3_BYTES = 104, /* without compression_type */
    QCOW2_REFCOUNT_TABLE_FIELD = 48,
    QCOW2_INCOMPATIBLE_FIELD = 72,
    QCOW2_AUTOCLEAR_FIELD = 88,
};

struct qcow2_extension_be {
    uint32_t type;
    uint32_t length; /* the data follow, padded to 8 bytes */
};
static_assert(sizeof(struct qcow2_extension_be) == 8, "qcow2 header extension");

struct qcow2_snapshot_be {
    uint64_t l1_table_offset;
    uint32_t l1_size;
    uint16_t id_size;
    uint16_t name_size;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint32_t vm_state_size;
    uint32_t extra_data_size; /* extra data, id and name follow, padded to 8 bytes */
};
static_assert(sizeof(struct qcow2_snapshot_be) == 40, "qcow2 snapshot");

#define QCOW2_EXTENSION_END            0x00000000U
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXTENSION_FEATURE_NAMES  0x6803f857U
#define QCOW2_EXTENSION_GROUP_ID                                                                   \
    0x534e4147U /* "SNAG": ours; 16 bytes, the group that made the file */

#define QCOW2_INCOMPATIBLE_DIRTY       (1ULL << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT     (1ULL << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE   (1ULL << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION (1ULL << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (1ULL << 4)
#define QCOW2_AUTOCLEAR_BITMAPS        (1ULL << 0)
#define QCOW2_AUTOCLEAR_RAW_DATA       (1ULL << 1)

/* L1 and L2 entries. */
#define QCOW2_COPIED      (1ULL << 63) /* the cluster has exactly one reference */
#define QCOW2_COMPRESSED  (1ULL << 62)
#define QCOW2_ZERO        1ULL /* reads as zeros; not with extended L2 */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL
#define QCOW2_L2_RESERVED 0x3f000000000001feULL
#define QCOW2_L1_RESERVED 0x7f000000000001ffULL
#define QCOW2_BITMAP_ALL  0xffffffffULL
#define QCOW2_SUBCLUSTERS 32

/* Limits on what a header may ask for; the same as QEMU's, so that what it makes can be opened. */
#define QCOW2_L1_BYTES_MAX             (32u << 20)
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX            65536u
#define QCOW2_SNAPSHOT_TABLE_BYTES_MAX (64u << 20)
#define QCOW2_SNAPSHOT_L1_BYTES_MAX    (512u << 20) /* of all of them together */
#define QCOW2_BACKING_NAME_MAX         1023u

/* ---- in memory ---- */

enum { QCOW2_SLICE_BYTES_MAX = 4096 };

/* A piece of an L2 table or a refcount block. */
struct qcow2_slice {
    struct qcow2_slice *hash_next;
    struct qcow2_slice *older, *newer; /* all slices, by last use */
    uint64_t offset;                   /* in the file */
    bool is_refcount;                  /* of a refcount block: written before those of L2 tables */
    bool is_dirty;
    bool is_flushing; /* a flush has a copy of it that is not on the disk yet */
    unsigned char *bytes;
};

struct qcow2_cache {
    struct qcow2_slice **buckets;
    struct qcow2_slice *oldest, *newest;
    size_t count, dirty_count;
    uint32_t slice_bytes;
};

/* Host clusters that are let go once the change that dropped them is durable. */
struct qcow2_frees {
    uint64_t *clusters;
    size_t count, room;
};

/* A set of host clusters that hold metadata; no guest data may go there. */
#define QCOW2_METADATA_RETIRED   (1ULL << 63) /* what was there has moved */
#define QCOW2_METADATA_HAS_SPACE (1ULL << 62) /* a write there finds no hole (qcow2/space.c) */
#define QCOW2_METADATA_FLAGS     (QCOW2_METADATA_RETIRED | QCOW2_METADATA_HAS_SPACE)
struct qcow2_metadata {
    uint64_t *
        clusters; /* with flags; open addressing; 0 is empty (cluster 0 is the header, always metadata) */
    size_t count, room;
};

/* A range of guest clusters that a request is about to map anew; others wait. */
struct qcow2_claim {
    struct qcow2_claim *next;
    uint64_t first, last;
};

/* The thread that flushes when much has changed in memory. Guarded by the image's lock. */
struct qcow2_flusher {
    pthread_cond_t called; /* is_wanted or is_ending */
    pthread_t thread;
    bool is_running, is_wanted, is_ending;
    bool must_retry;     /* the last flush failed, and not for good */
    bool lacks_records;  /* the journal had no room */
    atomic_bool is_full; /* a flush comes before the next change; may be read without the lock */
};

struct qcow2_snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
};

struct qcow2 {
    struct node *node;
    pthread_mutex_t lock; /* guards all below that changes */
    pthread_cond_t unclaimed;
    int fd;

    /* Fixed at open. */
    uint32_t version, cluster_bits, refcount_order, l2_bits, l2_entry_bytes;
    uint64_t cluster_bytes, subcluster_bytes; /* equal without extended L2 */
    bool has_extended_l2, has_backing, is_zstd;
    uint32_t l1_entries, header_bytes;
    uint64_t l1_offset;
    uint64_t snapshots_offset, snapshots_bytes;
    uint32_t snapshot_count;
    struct qcow2_snapshot *snapshots;

    uint64_t incompatible, autoclear; /* as on disk */
    bool is_corrupt;                  /* refuses changes */
    uint64_t *l1;                     /* host byte order */
    unsigned char *l1_dirty;          /* a flag for each entry */
    bool has_dirty_l1;
    uint64_t *refcount_table; /* host byte order */
    uint64_t refcount_table_entries, refcount_table_offset;
    bool has_dirty_refcount_table;        /* a block is new */
    uint64_t refcount_table_disk_entries; /* what has room at refcount_table_offset */
    bool
        must_move_refcount_table; /* it has grown past that; nothing is allocated before it moves */
    bool moves_refcount_table;    /* just now: what is allocated is for itself */
    bool has_moved_refcount_table; /* the header does not know yet */
    uint64_t free_hint;            /* no cluster below it is free */
    uint64_t run_hint;             /* where the search for more than one begins, if higher */
    uint64_t end_cluster;          /* no cluster from it on was ever used: they are holes */
    uint64_t file_bytes;           /* how far the file reaches at least */
    struct qcow2_cache cache;
    bool waits_not; /* as long as lock is held: -EAGAIN, not a read or a new refcount block */
    struct qcow2_frees frees;
    struct qcow2_metadata metadata;
    struct qcow2_claim *claims;
    struct qcow2_flusher flusher;
};

/* Takes the lock. `flags`: MAP_CACHED: -EAGAIN if somebody has it, who may be reading a table; else `waits_not`. */
static inline int qcow2_lock(struct qcow2 *q, unsigned flags)
{
    if (!(flags & MAP_CACHED))
        pthread_mutex_lock(&q->lock);
    else if (pthread_mutex_trylock(&q->lock) != 0)
        return -EAGAIN;
    q->waits_not = flags & MAP_CACHED;
    return 0;
}

static inline void qcow2_unlock(struct qcow2 *q)
{
    q->waits_not = false;
    pthread_mutex_unlock(&q->lock);
}

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes >> q->cluster_bits) + !!(bytes & (q->cluster_bytes - 1));
}

/* qcow2/header.c: reads and checks the header and everything it points at. */
int qcow2_header_load(struct node *node, struct qcow2 *q, struct err *err);

/* qcow2/backing-name.c: what a header's name of a backing file stands for: the file's own name and, if the words say
 * so, its format (else *format stays as it is). Both heap. -1 and *err: InvalidBlockFormat, OutOfResources. */
int qcow2_backing_name(const char *words, char **name, char **format, struct err *err);

/* qcow2/header.c: driver.group_id */
int qcow2_group_id(int fd, unsigned char id[OWNER_ID_BYTES]);

/* qcow2/header.c: writes one of the feature words and syncs. 0 or -errno. */
int qcow2_header_store_features(struct node *node, uint64_t field, uint64_t value);

/* driver-qcow2.c: builds what only changes need; may write (repair). */
int qcow2_make_writable(struct node *node, struct err *err);

/* qcow2/create.c: driver.create */
int qcow2_create(int fd, const struct image_spec *spec, struct err *err);

/* qcow2/create.c: driver.shape_fit */
void qcow2_shape_fit(struct cluster_shape *shape, uint64_t size_bytes);

/* qcow2/repair.c: makes all refcounts right; the image is open for writing, nothing else uses it. */
int qcow2_repair(struct node *node, struct err *err);

/* qcow2/tables.c: the L2 tables that some L1 tables name, each once. */
struct qcow2_table {
    uint64_t offset; /* 0: none */
    uint64_t references;
};

struct qcow2_tables {
    struct qcow2_table *slots;
    size_t count, room;
};

/* One more reference to the table at `offset`, which is not 0. 0 or -ENOMEM. */
int qcow2_tables_note(struct qcow2_tables *tables, uint64_t offset);
void qcow2_tables_free(struct qcow2_tables *tables);

/* Whether the file has nothing but zeros there, as far as that is known without reading. */
bool qcow2_table_is_hole(const struct qcow2 *q, uint64_t offset);

/* qcow2/cache.c. All with the lock held. */
int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_bytes);
void qcow2_cache_free(struct qcow2_cache *cache);

/* The slice that contains `offset`, read from the file if need be; valid until the next call. 0 or -errno. */
int qcow2_cache_get(struct qcow2 *q, uint64_t offset, bool is_refcount, struct qcow2_slice **slice);
struct qcow2_slice *qcow2_cache_find(struct qcow2 *q,
                                     uint64_t offset); /* NULL if it is not there */
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice);

/* Forgets what is cached of a cluster that changes its use. */
void qcow2_cache_drop(struct qcow2 *q, uint64_t cluster);

/* driver.freeze: few slices, no flusher. Takes the lock; may wait for a flush that is under way. */
void qcow2_freeze(struct node *node);

/* qcow2/refcount.c. All with the lock held; 0 or -errno. */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* Finds a new place for a refcount table that has grown. */
int qcow2_refcount_table_move(struct qcow2 *q);

/* Allocates `count` contiguous clusters: reference count 1 each. *is_fresh: they were never used and read as zeros. */
int qcow2_allocate(struct qcow2 *q, uint64_t count, uint64_t *cluster, bool *is_fresh);

/* Takes back what the file has grown ahead of use. No other call is under way. */
void qcow2_file_trim(struct qcow2 *q);

/* Gives back what qcow2_allocate() gave and nothing points at. */
void qcow2_unallocate(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* Takes so many references off the count, which must have them. */
int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, uint64_t references);

/* Metadata clusters. */
int qcow2_metadata_add(struct qcow2 *q, uint64_t cluster);
/* A table has moved from there: it is metadata until a flush has taken its last reference off the count. */
void qcow2_metadata_retire(struct qcow2 *q, uint64_t cluster);
bool qcow2_metadata_has(const struct qcow2 *q, uint64_t cluster, uint64_t count);

/* The image is not what it should be: no change is accepted from now on, and its header says so. -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t offset);

/* Whether the cluster's space is known to be taken; and that it is, if it is one of metadata. */
bool qcow2_metadata_has_space(const struct qcow2 *q, uint64_t cluster);
void qcow2_metadata_set_space(struct qcow2 *q, uint64_t cluster);

/* qcow2/space.c: comes before a change in memory of a cluster of tables: its space is taken, its content stays. The
 * second one of all clusters of a table. Lock held. 0 or -errno, -EAGAIN if that may wait and `waits_not`. */
int qcow2_space_take(struct qcow2 *q, uint64_t cluster);
int qcow2_space_take_run(struct qcow2 *q, uint64_t offset, uint64_t bytes);

/* The space of a new one, which reads as zeros afterwards. `is_fresh`: it has never been used. Lock held. */
int qcow2_space_clear(struct qcow2 *q, uint64_t cluster, bool is_fresh);

/* qcow2/release.c: drops a reference once the change that dropped it is durable. Lock held. 0 or -errno. */
int qcow2_release_later(struct qcow2 *q, uint64_t cluster);

/* The changes that dropped these are durable: gives back space, decreases the counts; sorts `frees`. Holds neither
 * lock nor io_lock. 0 or -errno: some stay counted, until the next flush. */
int qcow2_release(struct qcow2 *q, struct qcow2_frees *frees);

/* qcow2/l2.c: what a guest (sub)cluster's entry says. */
enum qcow2_kind {
    QCOW2_UNALLOCATED, /* the backing node decides */
    QCOW2_ZEROS,
    QCOW2_DATA,
    QCOW2_PACKED, /* compressed */
};

struct qcow2_entry {
    uint64_t word;   /* the L2 entry */
    uint64_t bitmap; /* with extended L2 */
};

/* The entry of the cluster at guest `offset`; all zeros if there is no L2 table. Lock held. 0 or -errno. */
int qcow2_entry_get(struct qcow2 *q, uint64_t offset, struct qcow2_entry *entry);

/* The words of the entry of the cluster at `offset` and of those after it, as far as one slice of the L2 table has them:
 * valid until the next call. *words is NULL if there is no L2 table. *length: how far from `offset` that reaches. Lock
 * held. 0 or -errno. */
int qcow2_entries_get(struct qcow2 *q, uint64_t offset, const uint64_t **words, uint64_t *length);

static inline struct qcow2_entry qcow2_entry_decode(const struct qcow2 *q, const uint64_t *words)
{
    return (struct qcow2_entry){be64toh(words[0]), q->has_extended_l2 ? be64toh(words[1]) : 0};
}

/* Changes it. The L2 table must be writable (qcow2_table_make_writable). Lock held. 0 or -errno. */
int qcow2_entry_set(struct qcow2 *q, uint64_t offset, struct qcow2_entry entry);

/* The L2 table for guest `offset` exists and is ours alone. Lock held. 0 or -errno. */
int qcow2_table_make_writable(struct qcow2 *q, uint64_t offset);

/* What the subcluster at `offset` is; *host its place (DATA). 0, or -EIO for an impossible entry. Lock held. */
int qcow2_entry_kind(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                     enum qcow2_kind *kind, uint64_t *host);

/* To be called before an entry is changed, or data are written where it says: what lies past the end of the file reads
 * as zeros, but is nobody's. 0, or -EIO and the image is corrupt. `at`: the guest's offset. Lock held. */
int qcow2_entry_check_change(struct qcow2 *q, struct qcow2_entry entry, uint64_t at);

static inline uint64_t qcow2_entry_host(struct qcow2_entry entry)
{
    return entry.word & QCOW2_COMPRESSED ? 0 : entry.word & QCOW2_OFFSET_MASK;
}

/* Drops, later, the references that an entry which is replaced holds. Lock held. 0 or -errno. */
int qcow2_entry_release(struct qcow2 *q, struct qcow2_entry entry);

/* qcow2/compressed.c: where a compressed cluster lies; unpacks it whole into `buf`. */
void qcow2_packed_place(const struct qcow2 *q, uint64_t word, uint64_t *offset, uint64_t *length);
int qcow2_packed_read(const struct qcow2 *q, uint64_t word, unsigned char *buf);

/* qcow2/read.c: driver.map and driver.read. */
int qcow2_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent);
int qcow2_read(struct node *node, void *buf, uint64_t offset, uint64_t length);

/* qcow2/write.c: driver.write, driver.write_cached, and the first for one that holds io_lock already; claims. */
int qcow2_write(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int qcow2_write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int qcow2_write_held(struct node *node, const void *buf, uint64_t offset, uint64_t length);
void qcow2_claim_begin(struct qcow2 *q, struct qcow2_claim *claim); /* lock held; waits */
void qcow2_claim_end(struct qcow2 *q, struct qcow2_claim *claim);   /* lock held */

/* qcow2/zero.c */
int qcow2_zero(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int qcow2_zero_fast(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int qcow2_discard(struct node *node, uint64_t offset, uint64_t length);

/* qcow2/flush.c */
int qcow2_flush(struct node *node);

/* qcow2/flusher.c: before anything is changed: is there room in memory, and for so many records in the journal? Then
 * they are the caller's, until journal_unreserve(). Calls the flusher if it is time. Lock held. 0 or NODE_NEEDS_ROOM. */
int qcow2_reserve(struct qcow2 *q, size_t records);

/* Much was written, or has changed: is there room for the next change? Lock held. */
void qcow2_look_if_full(struct qcow2 *q);

/* driver.make_room */
int qcow2_make_room(struct node *node);

/* A flush failed; the flusher tries again. Takes the lock. */
void qcow2_flush_later(struct qcow2 *q);

/* Ends the flusher; nothing changes the image any more. Reads may be under way; no lock is held. */
void qcow2_flusher_end(struct qcow2 *q);

/* qcow2/replay.c: driver.replay */
#define QCOW2_PLACE_L1                                                                             \
    (1ULL << 63) /* a record's place: this and an L1 index, or the number of a guest cluster */
int qcow2_replay(struct node *node, const struct journal_record *records, size_t count,
                 struct err *err);

#endif
