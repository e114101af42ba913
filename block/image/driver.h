/* SPDX-License-Identifier: Apache-2.0
 *
 * The waist between the block layer and image formats. A format is one `struct driver`; a node is
 * one opened image. node.c wraps every callback: ranges are checked, lengths are never 0, and
 * nothing that writes reaches a read-only node, so drivers stay short.
 *
 *      device --> node (top) --> node (backing) --> ... --> node (base)
 *                  | driver         | driver
 *                 file             file
 *
 * D1. open and close are called by one thread with no other call under way on the node,
 *     set_writable with no change under way. All others may be called by any number of threads at
 *     once, also on overlapping ranges; these may take effect in any order but damage nothing
 *     outside their range.
 * D2. A driver locks its own metadata, and holds no lock of its own while it calls
 *     node_read_backing().
 * D3. Space that a change frees is used again only after the driver has held node->io_lock
 *     exclusively once: a mapped extent stays readable while its reader holds the lock shared; and
 *     not while node->keeps_freed is set: a thawed node was mapped without the lock before.
 * D4. Each change of what map() returns is reported (node_map_changed) under that lock.
 * D5. At every moment the file is an image in which the next open finds no error, whichever of the
 *     writes since the last fdatasync reached the disk; leaked clusters are no error. Until a
 *     flush, data may be in the page cache and metadata in memory only.
 * D6. A call that returned 0 is seen by every later read on the node.
 *
 * No asserts for D1, D2, D3 and D4, since a read-write lock does not know its holders, nor for D5
 * and D6, which take a look into the file: the crash tests do.
 */
#ifndef BLOCK_IMAGE_DRIVER_H
#define BLOCK_IMAGE_DRIVER_H

#include "base/err.h"
#include "block/image/extent.h"
#include "block/image/identity.h"
#include "block/types.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What create() writes. */
struct image_spec {
    uint64_t size_bytes;           /* a multiple of BLOCK_SECTOR_BYTES */
    uint32_t cluster_bytes;        /* 0: the format's default */
    bool extended_l2;              /* qcow2 subclusters */
    const char *backing_file;      /* as the header is to have it, or NULL */
    const char *backing_format;    /* a driver's name; required with backing_file */
    const unsigned char *group_id; /* the file's owner: OWNER_ID_BYTES, or NULL */
};

struct file_claim;
struct node;
struct journal;
struct journal_record;

struct driver {
    const char *name;      /* "raw", "qcow2": what users write as `format` */
    bool supports_backing; /* can be an overlay */

    /* Required. Parses the file and sets the driver's half of the node. May write if
     * !node->read_only (repair). Codes: InvalidBlockFormat (the message names the feature or field
     * refused), OpenFileFailed (I/O). On failure `state` owns nothing. */
    int (*open)(struct node *node, struct err *err);

    /* Required. Frees `state`; writes nothing (flush came first). */
    void (*close)(struct node *node);

    /* Optional. Writes a new image into the empty file `fd`, not synced. `fd` -1, for formats with
     * backing files only: writes nothing, and returns the cluster size, at least the spec's, that a
     * disk of that size needs. Codes as for open. */
    int (*create)(int fd, const struct image_spec *spec, struct err *err);

    /* Optional. The owner of the file `fd`: 0 and the id, -ENOENT if it has none, or -errno. */
    int (*group_id)(int fd, unsigned char id[OWNER_ID_BYTES]);

    /* Required. Maps the layer from `offset` on, without its data. Reads at most one piece of its
     * tables, whatever the length, so the extent may end early; the caller continues there
     * (walk.h). Absent tables are skipped at once. Once a node is no top, the answer for a byte
     * that is not masked by a layer above never changes. node->io_lock is held shared if the node
     * can be written. 0 or -errno. */
    int (*map)(struct node *node, uint64_t offset, unsigned flags, struct extent *extent);

    /* Optional. Reads a range mapped as data at EXTENT_NO_HOST, whole. Locks and result as for
     * map. */
    int (*read)(struct node *node, void *buf, uint64_t offset, uint64_t length);

    /* Required. Writes all of the range. 0, NODE_NEEDS_ROOM or -errno; after an error the content
     * of the range is undefined. Never waits for a flush: that is make_room's. `flags`:
     * WRITE_CACHED or WRITE_DIRECT. */
    int (*write)(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags);

    /* Optional. The same of ranges that ascend, whose data follow each other in `buf`: in as few
     * writes of the file as possible. `flags`: WRITE_DIRECT. */
    int (*write_many)(struct node *node, const void *buf, const struct disk_range *ranges,
                      size_t count, unsigned flags);

    /* Required. The range reads as zeros afterwards. `flags`: zero_flags. Result as for write. */
    int (*zero)(struct node *node, uint64_t offset, uint64_t length, unsigned flags);

    /* Required. All that returned before is durable on return. Calls node_sync(). */
    int (*flush)(struct node *node);

    /* Optional; required if changes return NODE_NEEDS_ROOM. Called before each change, without a
     * lock; the node may be frozen meanwhile. Flushes if memory for one more change is short. 0 or
     * -errno. */
    int (*make_room)(struct node *node);

    /* Optional; with it, a top has a journal (journal.h), to which the driver appends each change
     * that is in memory only. Reads may be under way.
     * False: the node has become read-only. Frees memory and threads that only changes need; may
     * wait for a flush that is under way. Returns 0.
     * True: the node, read-only on a file that may be written, is to be written. `records`: NULL;
     * or the changes that a killed daemon recorded, to be made, in order, in memory; the next flush
     * drops them from node->journal. Refused, and left unchanged, are a dirty or corrupt image, and
     * one that does not match the records, unless a flush after an earlier replay explains the
     * difference. -1 and *err (OpenFileFailed) on failure. */
    int (*set_writable)(struct node *node, bool is_writable, const struct journal_record *records,
                        size_t count, struct err *err);

    /* Optional. Names the backing file of `spec` in the header, or, if that is NULL, makes the disk
     * larger, with zeros, to its size_bytes; durable on return. A power loss leaves the old header
     * or the new one. `fd`: the file, open for writing; -1: writes nothing, and tells whether that
     * is possible. flush_lock is held; all may be under way, but no change if the disk becomes
     * larger. -1 and *err (InvalidValue, OpenFileFailed) on failure. */
    int (*amend)(struct node *node, int fd, const struct image_spec *spec, struct err *err);
};

/* One opened image. Owned by reference counts: the node above and the device each hold one. Locks
 * are taken in this order: flush_lock, io_lock, then the driver's own. */
struct node {
    pthread_mutex_t flush_lock; /* one flush at a time; the second finds nothing left to do */
    pthread_rwlock_t io_lock;   /* shared: from a look-up in the maps to the end of the I/O that
                                 * relies on it. Exclusive: for an instant, by a driver, before
                                 * freed space is used again */

    /* The driver's half: open() sets it, and but for `state`, and amend(), it never changes. */
    _Atomic uint64_t size_bytes; /* as a guest sees it: a multiple of BLOCK_SECTOR_BYTES */
    uint64_t cluster_bytes; /* granularity of the maps, a power of two; 0: the format has none */
    uint64_t copy_bytes;    /* changes of whole such units copy nothing from below; 0: none does */
    char *backing_file;   /* the header's words, or NULL; owned, as is the next one; for opening */
    char *backing_format; /* a driver's name, or NULL if the header does not record it */
    uint64_t stamp_at;    /* where the file has room for its journal's stamp; 0: nowhere */
    void *state;          /* the driver's own */

    /* The private half: node.c and freeze.c alone write it. Up to `is_unwanted` it never changes
     * once the chain is open, and any thread may read it; so may the driver read the journal while
     * it has a change or a flush under way. */
    const struct driver *driver;
    int fd;
    bool is_locked;       /* the file system keeps the image's lock (lock.h) */
    bool is_stat_instant; /* fstat never waits for a storage */
    char *path;           /* absolute, canonical */
    char *alias; /* NULL, or the symbolic link that it was opened by; see node_used_path() */
    dev_t dev;   /* which file it is, whatever its names */
    ino_t ino;
    struct identity identity;       /* the same, to be recorded */
    struct file_claim *claim;       /* owned; NULL: not in the file table (file-table.h) */
    struct node *_Atomic backing;   /* owned reference, or NULL */
    const atomic_bool *is_unwanted; /* cancels the open; NULL: nothing does */
    atomic_uint refs;
    _Atomic uint64_t allocated_bytes; /* as last examined */
    atomic_bool read_only;            /* changes with node_freeze() and node_thaw() only */
    atomic_bool was_thawed;  /* set for good by node_thaw(): its device does not freeze it */
    atomic_bool keeps_freed; /* D3: no space that a change frees is used again */
    atomic_bool unflushed;   /* a change was made since the last flush began */
    atomic_int sync_error;   /* the errno of the first fdatasync that failed; later ones fail too */
    int direct_fd;           /* owned: the file, past the page cache; -1: there is none */
    struct read_marks *_Atomic read_marks; /* owned, or NULL: see read-marks.h */
    struct journal *journal; /* owned, or NULL; guarded by flush_lock while there are no changes */
    struct journal *ended;   /* owned, or NULL: one that has ended; guarded by flush_lock */
    atomic_int journals_fd;  /* where a failed fdatasync is recorded (borrowed), or -1 */
    void (*changed)(void *arg, uint64_t offset, uint64_t length); /* see node_watch(); or NULL */
    void *_Atomic changed_arg;
};

#endif
