/* SPDX-License-Identifier: Apache-2.0
 *
 * One open qcow2 image in memory: the header's fields, the whole L1 table, the refcount table up to
 * its last block, and a cache of slices (at most 4 KiB) of L2 tables and refcount blocks. Only a
 * flush writes them back.
 *
 * Invariants, while the image's lock is free:
 *   S1  No cluster below free_hint is free.
 *   S2  Every cluster from end_cluster on was never used: it is a hole and reads as zeros.
 *   S3  Cluster 0 holds the header and is never allocated.
 *   S4  The refcount table on disk is a prefix of the one in memory; must_move_refcount_table: it
 *       is shorter, and nothing is allocated before the table has moved.
 *   S5  has_moved_refcount_table implies has_dirty_refcount_table.
 *   S6  has_dirty_l1 is set exactly if a flag in l1_dirty is.
 *   S7  Guest data never lie in a metadata cluster, nor metadata in a cluster that is counted as
 *       free.
 *   S8  refcount_table_known <= refcount_table_entries; the entries from there on are 0.
 * S1 and S2 have partial asserts in allocate.c, since a full one would read every count; a breach
 *    of
 * S7 is a property of the file: it marks the image corrupt and is no assert.
 *
 * Lock order: node->flush_lock, node->io_lock, lock. A request holds io_lock shared from its
 * look-up of the tables to the end of its data I/O. A flush acquires io_lock exclusively for an
 * instant before it frees clusters, so that no request still uses a freed one. Opening, repair and
 * replay hold no lock: nothing else uses the image yet.
 */
#ifndef BLOCK_FORMAT_QCOW2_STATE_H
#define BLOCK_FORMAT_QCOW2_STATE_H

#include "base/cleanup.h"
#include "block/format/qcow2/format.h"
#include "block/image/driver-services.h"
#include "block/image/driver.h"
#include "block/image/file-io.h"
#include "block/image/journal.h"
#include "block/image/table-memory.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

enum { QCOW2_SLICE_BYTES_MAX = 4096 };

/* A piece of an L2 table or a refcount block (cache.c). */
struct qcow2_slice {
    struct qcow2_slice *hash_next;
    struct qcow2_slice *older, *newer; /* all slices, by last use */
    uint64_t offset;                   /* in the file */
    bool is_refcount;                  /* of a refcount block: written before those of L2 tables */
    bool is_dirty;
    bool is_flushing; /* a flush holds a copy that is not on disk yet */
    unsigned char *bytes;
};

struct qcow2_cache {
    struct qcow2_slice **buckets;
    size_t bucket_count; /* a power of two; grows with `count` */
    struct qcow2_slice *oldest, *newest;
    size_t count, dirty_count;
    uint32_t slice_bytes;
    struct table_cache memory; /* once the image is open */
};

/* References to host clusters that are dropped once the changes that removed them are durable. */
struct qcow2_frees {
    uint64_t *clusters;
    size_t count, room;
};

/* The set of host clusters that hold metadata (metadata.c). */
struct qcow2_metadata {
    uint64_t *clusters; /* with flags; open addressing; 0 is empty */
    size_t count, room;
};

/* A range of guest clusters whose entries a request is about to change (range-lock.c). */
struct qcow2_range_lock {
    struct qcow2_range_lock *next;
    uint64_t first, last;
};

enum qcow2_flusher_state {
    QCOW2_FLUSHER_ABSENT,
    QCOW2_FLUSHER_RUNNING,
    QCOW2_FLUSHER_ENDING,
    QCOW2_FLUSHER_ENDED,
};

/* The thread that flushes when many tables have changed (flusher.c). Guarded by the image's
 * lock. */
struct qcow2_flusher {
    pthread_cond_t called; /* is_wanted, or state is ENDING */
    pthread_t thread;
    enum qcow2_flusher_state state;
    bool is_wanted;      /* a flush is */
    bool must_retry;     /* the last flush failed, but not permanently */
    bool lacks_records;  /* the journal was full */
    atomic_bool is_full; /* a flush precedes the next change; readable without the lock */
};

struct qcow2_snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
};

struct qcow2 {
    pthread_mutex_t lock;          /* guards every field below that changes */
    pthread_cond_t range_unlocked; /* a range lock was released */
    struct node *node;
    int fd;

    /* Fixed at open. */
    uint32_t version, cluster_bits, refcount_order, l2_bits, l2_entry_bytes;
    uint64_t cluster_bytes, subcluster_bytes; /* equal without extended L2 */
    bool has_extended_l2, has_backing, is_zstd;
    uint32_t header_bytes;
    uint64_t snapshots_offset, snapshots_bytes;
    uint32_t snapshot_count;
    struct qcow2_snapshot *snapshots;

    uint64_t incompatible, autoclear; /* as on disk */
    bool is_corrupt;                  /* rejects changes */
    uint64_t *l1;                     /* host byte order */
    uint64_t l1_offset;               /* this and l1_entries change with grow.c only */
    uint32_t l1_entries;
    unsigned char *l1_dirty; /* one flag per entry */
    bool has_dirty_l1;
    uint64_t *refcount_table;      /* host byte order */
    uint64_t refcount_table_known; /* entries in memory (S8) */
    uint64_t refcount_table_entries, refcount_table_offset;
    bool has_dirty_refcount_table;        /* a block is new */
    uint64_t refcount_table_disk_entries; /* capacity at refcount_table_offset */
    bool must_move_refcount_table;        /* has outgrown that (S4) */
    bool moves_refcount_table;            /* is moving: allocations now are its own */
    bool has_moved_refcount_table;        /* the header on disk has the old offset */
    uint64_t free_hint;                   /* S1 */
    uint64_t run_hint;    /* where the search for more than one cluster begins, if higher */
    uint64_t end_cluster; /* S2 */
    uint64_t file_bytes;  /* lower bound of the file's length */
    struct qcow2_cache cache;
    bool
        is_nonblocking; /* while lock is held: -EAGAIN rather than a read or a new refcount block */
    struct qcow2_frees frees;
    struct qcow2_metadata metadata;
    struct qcow2_range_lock *range_locks;
    struct qcow2_flusher flusher;
};

/* Acquires the lock. `flags`: MAP_CACHED: -EAGAIN if it is held, perhaps by a reader of the disk;
 * otherwise is_nonblocking until qcow2_unlock(). */
static inline int qcow2_lock(struct qcow2 *q, unsigned flags)
{
    if (!(flags & MAP_CACHED))
        pthread_mutex_lock(&q->lock);
    else if (pthread_mutex_trylock(&q->lock) != 0)
        return -EAGAIN;
    q->is_nonblocking = flags & MAP_CACHED;
    return 0;
}

static inline void qcow2_unlock(struct qcow2 *q)
{
    q->is_nonblocking = false;
    pthread_mutex_unlock(&q->lock);
}

/* The number of clusters that `bytes` bytes occupy. */
static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes >> q->cluster_bits) + !!(bytes & (q->cluster_bytes - 1));
}

/* The offset of a refcount block; 0: it does not exist. */
static inline uint64_t qcow2_refcount_block(const struct qcow2 *q, uint64_t block)
{
    return block < q->refcount_table_known ? q->refcount_table[block] : 0;
}

/* For functions that requests call: opening, repair and replay need no lock. */
static inline void qcow2_assert_locked(struct qcow2 *q)
{
    (void)q;
    assert(pthread_mutex_trylock(&q->lock) == EBUSY);
}

/* Marks the image corrupt, in memory and in its header: every later change fails. Lock held.
 * -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t offset);

#endif
