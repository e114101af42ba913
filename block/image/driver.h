/* SPDX-License-Identifier: Apache-2.0
 *
 * The waist between the block layer and image formats. A format is one `struct driver`; a node is
 * one opened image. node.c wraps every callback: ranges are checked, lengths are never 0, and
 * nothing that writes reaches a read-only node, so drivers stay short.
 *
 *      device --> node (top) --> node (backing) --> ... --> node (base)
 *                  |  driver        |  driver
 *                  v                v
 *                 file             file
 *
 * Threads: open, close and replay are called by one thread with no other call under way on the
 * node, freeze with no change under way. All other callbacks may be called by any number of threads
 * at once, on overlapping ranges too; a driver locks its own metadata and never holds a lock while
 * it calls node_read_backing(). Overlapping requests that are under way together may take effect in
 * any order, but none may damage what lies outside its range.
 *
 * Space that a change lets go may be used again only after the driver has held node->io_lock
 * exclusively once: so what a map said stays readable for as long as its reader holds it shared.
 * Every change of what map() would say is told (node_map_changed) while the changer holds it.
 *
 * Durability: write and zero may leave data in the page cache and metadata in memory until
 * flush. But whatever a driver puts into the file must at every moment be an image that the next
 * open finds free of errors, whichever of the writes since the last fdatasync reached the disk
 * (leaked clusters are no error). A call that returned 0 is seen by every later read on this node.
 */
#ifndef BLOCK_IMAGE_DRIVER_H
#define BLOCK_IMAGE_DRIVER_H

#include "base/err.h"
#include "block/image/identity.h"
#include "block/types.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a range of one layer holds. */
enum extent_kind {
    EXTENT_DATA,    /* this layer's own data */
    EXTENT_ZERO,    /* this layer says zeros, whatever lies below */
    EXTENT_BACKING, /* this layer says nothing: the backing node decides; zeros if there is none */
};

#define EXTENT_NO_HOST UINT64_MAX

struct extent {
    enum extent_kind kind;
    uint64_t length; /* asked: at most so many bytes (> 0); told: so many (> 0), perhaps fewer than
                      * there are */
    uint64_t host; /* DATA: where in the file they begin, or EXTENT_NO_HOST if only read() can tell
                      * what they are. Past the end of the file there are zeros */
};

enum map_flags {
    MAP_HOLES = 1,  /* holes of the file are told as zeros, where the file system knows them */
    MAP_CACHED = 2, /* -EAGAIN rather than wait for a disk or for somebody who does */
};

/* What create() writes. */
struct image_spec {
    uint64_t size_bytes;           /* a multiple of BLOCK_SECTOR_BYTES */
    uint32_t cluster_bytes;        /* 0: the format's default */
    bool extended_l2;              /* qcow2 subclusters */
    const char *backing_file;      /* as it is to stand in the header, or NULL */
    const char *backing_format;    /* a driver's name; required with backing_file */
    const unsigned char *group_id; /* OWNER_ID_BYTES, or NULL: who created the file */
};

/* Writes in memory only: -EAGAIN, and nothing is written, if the driver would have to wait for a disk
 * or for a thread that does; what the kernel makes of a write does not count. */
#define WRITE_CACHED 1

enum zero_flags {
    ZERO_UNMAP = 1,   /* space may be freed */
    ZERO_FAST = 2,    /* -EOPNOTSUPP, at once and with nothing done, unless it takes much less time
                     * than to write zeros */
    ZERO_DISCARD = 4, /* alone: the range is not needed any more. Each of its bytes reads as before
                       * or as zero, never as what a backing node holds */
};

/* What write and zero return beside 0 and -errno: so much has changed in memory
 * that a flush must come first. Some of the range may be changed already; the caller calls
 * make_room() and then makes the whole change again. */
#define NODE_NEEDS_ROOM 2

struct file_claim;
struct node;
struct journal;
struct journal_record;

struct driver {
    const char *name;      /* "raw", "qcow2": what users write as `format` */
    bool supports_backing; /* can be an overlay */

    /* Required. Parses the file; sets node->size_bytes and state, and backing_file and
     * backing_format (heap, owned by the node) if the header names one. May write if
     * !node->read_only (repair). Sets node->cluster_bytes if the format has maps. Codes: InvalidBlockFormat (message names the feature or field
     * refused), OpenFileFailed (I/O). On failure leaves nothing allocated in `state`. */
    int (*open)(struct node *node, struct err *err);

    /* Required. Frees `state`; writes nothing (flush came first). */
    void (*close)(struct node *node);

    /* Optional. Writes a new image into the empty file `fd`, not synced. `fd` -1, for formats with
     * backing files only: writes nothing, and returns the cluster size, at least the spec's, that a
     * disk of that size needs. Codes as for open. */
    int (*create)(int fd, const struct image_spec *spec, struct err *err);

    /* Optional. Reads which group created the file `fd`: 0 and the id, -ENOENT if none did, or
     * -errno. */
    int (*group_id)(int fd, unsigned char id[OWNER_ID_BYTES]);

    /* Required. What the layer holds from `offset` on; nothing of it is read. It may tell of less
     * than there is, and does where to find out more would take long: of its tables it reads one
     * piece at most, whatever the length asked, and skips what is absent at once; the caller asks
     * again where the answer ends (walk.h). Once the node is no top any more, the answer for a byte
     * never changes. node->io_lock is held shared if the node can be written. 0 or -errno. */
    int (*map)(struct node *node, uint64_t offset, unsigned flags, struct extent *extent);

    /* Optional. Reads a range that map() told to be data at EXTENT_NO_HOST, whole. Locks as for
     * map. 0 or -errno. */
    int (*read)(struct node *node, void *buf, uint64_t offset, uint64_t length);

    /* Required. Writes all of the range. 0, NODE_NEEDS_ROOM or -errno; after an error the range's
     * content is undefined, that of others is not. Never waits for a flush: that is make_room's.
     * `flags`: WRITE_CACHED. */
    int (*write)(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                 unsigned flags);

    /* Required. The range reads as zeros afterwards. `flags`: zero_flags. Returns as write. */
    int (*zero)(struct node *node, uint64_t offset, uint64_t length, unsigned flags);

    /* Required. All that returned before is durable on return. Uses node_sync(). */
    int (*flush)(struct node *node);

    /* Optional; with it, changes may return NODE_NEEDS_ROOM. Called before each change, no lock held:
     * flushes if there is no room in memory for what a change leaves there, else returns at once.
     * The node may be frozen meanwhile. 0 or -errno. */
    int (*make_room)(struct node *node);

    /* Optional. The node is read-only for good; reads may be under way. Gives back memory that only
     * a top is worth, and threads; may wait for a flush that is under way. */
    void (*freeze)(struct node *node);

    /* Optional; with it, images open for writing have a journal (journal.h), and the driver appends
     * to it what would be lost with its memory. Brings an image up to date after the daemon was
     * killed: makes the changes that `records` tell of, in order, in memory, as if they had been
     * made since it was opened; the next flush writes them, and drops the records in node->journal,
     * where they come from. The node is open read-only on a file that may be written, so that
     * nothing has been written yet, and open to write from then on. An image that is not as the
     * records say it can be is refused and left as it is; one that a flush after another replay had
     * begun to change is not. -1 and *err (OpenFileFailed) on failure. */
    int (*replay)(struct node *node, const struct journal_record *records, size_t count,
                  struct err *err);
};

/*
 * One opened image. Owned by reference counts: the node above and the device each hold one.
 */
struct node {
    pthread_mutex_t flush_lock; /* one flush at a time; the second finds nothing left to do */
    pthread_rwlock_t io_lock;   /* shared: from a look at the maps to the end of the I/O that relies
                                 * on it. Exclusively: for an instant, by a driver, before space that
                                 * was let go is used again */
    atomic_uint refs;
    const struct driver *driver;
    int fd;
    bool is_locked; /* the file system keeps the image's lock (lock.h) */
    char *path;     /* absolute, canonical */
    char *alias;    /* NULL, or the symbolic link that it was opened by; see node_used_path() */
    dev_t dev;      /* which file it is, whatever its names */
    ino_t ino;
    struct identity identity; /* likewise, for what is recorded */
    struct file_claim
        *claim;           /* owned, or NULL: nobody is told that the file is open (file-table.h) */
    bool is_stat_instant; /* fstat never waits for a storage */
    _Atomic uint64_t allocated_bytes; /* when it was last looked at */
    uint64_t size_bytes;              /* as a guest sees it: a multiple of BLOCK_SECTOR_BYTES */
    uint64_t cluster_bytes; /* the unit of the driver's maps, a power of two; 0: it has no maps */
    atomic_bool read_only;  /* set for good by node_freeze() */
    atomic_bool unflushed;  /* a write was finished since the last flush began */
    /* Who wants to know when what map() says of a range has changed, or NULL. Set while no change
     * is under way. Called with the driver's locks held; calls nothing of the node. */
    void (*changed)(void *arg, uint64_t offset, uint64_t length);
    void *changed_arg;
    const atomic_bool *is_unwanted; /* the opening of the node is to be given up; NULL after it, or
                                     * if nobody would */
    atomic_int sync_error;   /* the errno of the first fdatasync that failed; later ones fail too */
    char *backing_file;      /* the header's words, or NULL */
    char *backing_format;    /* a driver's name, or NULL if the header does not record it */
    struct node *backing;    /* owned reference, or NULL */
    struct journal *journal; /* owned, or NULL; while there are no writes flush_lock guards it */
    int journals_fd;         /* the directory where a failed fdatasync is noted (borrowed), or -1 */
    void *state;             /* the driver's */
};

/* Adds a driver, or replaces the one of its name. No other thread may run yet. */
void driver_register(const struct driver *driver);

/* The driver of that name, or NULL. */
const struct driver *driver_find(const char *name);

/* The shape that overlays of a disk of that size get: the default for a shape of 0, fitted. */
struct cluster_shape driver_overlay_shape(struct cluster_shape wanted, uint64_t size_bytes);

/*
 * For drivers.
 */

/* Fills `buf` with what the node's backing chain holds there: zeros past its end or without one.
 * `flags`: MAP_CACHED: -EAGAIN rather than wait. 0 or -errno. */
int node_read_backing(struct node *node, void *buf, uint64_t offset, uint64_t length,
                      unsigned flags);

/* Reads the data of an extent that map() told of at `offset`. Flags and result as above. */
int node_read_data(struct node *node, void *buf, uint64_t offset, unsigned flags,
                   const struct extent *extent);

/* To be called after each change of what map() says of the range, before its io_lock is let go. */
static inline void node_map_changed(const struct node *node, uint64_t offset, uint64_t length)
{
    if (node->changed)
        node->changed(node->changed_arg, offset, length);
}

/* Whether the node is still wanted: what takes long in open() asks every few milliseconds, and ends
 * in node_unwanted_error() if not. */
static inline bool node_is_wanted(const struct node *node)
{
    return !node->is_unwanted || !atomic_load_explicit(node->is_unwanted, memory_order_relaxed);
}

/* NotReady; returns -1. */
int node_unwanted_error(const char *path, struct err *err);

/* fdatasync of the node's file. Once it failed it always fails: the kernel may have dropped the
 * pages; what is in memory of the file is not trusted any more until the next boot (journal.h). */
int node_sync(struct node *node);

#endif
