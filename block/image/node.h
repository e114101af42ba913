/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes: opening, sharing, and the wrapper around every driver callback. Private to block/.
 * freeze.h has what changes whether a node may be written.
 */
#ifndef BLOCK_IMAGE_NODE_H
#define BLOCK_IMAGE_NODE_H

#include "base/cleanup.h"
#include "block/image/driver-services.h"

/* Locks (lock.h) and opens the image in `fd` (taken over on success only; otherwise to be closed)
 * on top of `backing` (a new reference is taken; NULL: none), whatever file the header names.
 * `path` is recorded. NULL and *err on failure. */
struct node *node_open(int fd, const char *path, const struct driver *driver, bool read_only,
                       struct node *backing, struct err *err);

/* The same; fails with NotReady soon after *is_unwanted is set (NULL: never). */
struct node *node_open_wanted(int fd, const char *path, const struct driver *driver, bool read_only,
                              struct node *backing, const atomic_bool *is_unwanted,
                              struct err *err);

/* The name that the image was opened by, absolute, its directory canonical. Relative names in
 * its header start there, as in QEMU; the same chain is opened again only under this name. */
const char *node_used_path(const struct node *node);

enum node_state {
    NODE_READING,
    NODE_WRITABLE,
    NODE_THAWED, /* writable again (freeze.h) */
    NODE_FAILED, /* a sync failed; open to write all the same */
};
enum node_state node_state(const struct node *node);

/* For freeze.c: the caller is alone in moving the state. */
void node_assert_state(const struct node *node);

/* Gives a node that is open for writing a journal in the directory `dirfd` (borrowed while the node
 * is open; -1: none) if its driver keeps one; before the first write. 0, or -1 and *err
 * (OpenFileFailed). */
int node_add_journal(struct node *node, int dirfd, struct err *err);

/* The same for the top of a chain that an earlier daemon may have written to: the first flush syncs
 * the top and its backing image, the top before it, even if nothing is written. A node that was
 * replayed keeps its journal. */
int node_begin_writing(struct node *top, int dirfd, struct err *err);

/* Makes the changes recorded in a loaded journal, which is taken over, and turns the node, open
 * read-only on a file that may be written, into one open for writing. 0, or -1 and *err: the node
 * is good only to be closed. Codes: UnflushedData (the image is not as the records say),
 * OpenFileFailed. */
int node_replay(struct node *node, struct journal *journal, int dirfd, struct err *err);

/* Ends the journal; its records are deleted with `discard`, else kept. No write is under way. */
void node_end_journal(struct node *node, bool discard);

/* Frees what is left of a journal that has ended; else that goes with the node. Whether there was
 * one. */
bool node_free_journal(struct node *node);

/* Whether changes may be in memory or the journal only, or a sync failed. */
bool node_is_unflushed(struct node *node);

/* Parts that are added to a new node before another thread can see it; owned by the node from then
 * on, and may be NULL. */
void node_add_claim(struct node *node, struct file_claim *claim);
void node_add_alias(struct node *node, char *alias);
void node_add_backing(struct node *node, struct node *backing);

/* Puts the node on another one, of which it gives the same view; takes a reference. Returns the old
 * one, whose reference passes to the caller: others may still read it. At any time. */
struct node *node_exchange_backing(struct node *node, struct node *backing);

/* Offers the node to other chains, if it is read-only and claimed (file-table.h). If another node
 * of the file is offered already, that one, with a reference; else NULL. */
struct node *node_share(struct node *node);

/* From now on `changed` is called when map() returns something else for a range; NULL: no more. Set
 * while no change is under way. It is called with the driver's locks held, and calls no function of
 * the node. */
void node_watch(struct node *node, void (*changed)(void *arg, uint64_t offset, uint64_t length),
                void *arg);

/* The same function is called with `to` from now on, unless the node is not watched by `from`. At
 * any time; calls with `from` that have begun go on. */
void node_watch_instead(struct node *node, void *from, void *to);

struct node *node_ref(struct node *node);

/* Drops a reference; the last one closes the node, then its backing node's reference in turn. */
void node_unref(struct node *node);
CLEANUP_DEFINE(node, struct node *, node_unref)

/* Drops the reference of a node that is not needed after all: what is only in its journal is
 * written to the image first. 0 or -errno: the journal keeps it. */
int node_give_up(struct node *node);

/* A change of a node's content. */
struct node_change {
    enum { NODE_WRITE, NODE_ZERO, NODE_ZERO_FAST, NODE_DISCARD } kind;
    const void *buf; /* of a write */
    uint64_t offset, length;
    bool unmap; /* of zeroes: space may be given back */
};

/* For one whose changes others wait for, so that none may wait for a sync: node_make_room() before,
 * then node_change(). If that is NODE_NEEDS_ROOM, after all, both are done again. Else as below. */
int node_make_room(struct node *node);
int node_change(struct node *node, const struct node_change *change);

/* From now on node_write_many() writes past the page cache what is_direct, if the file system can;
 * until node_close_direct(). Neither is called while such a write is under way. */
void node_open_direct(struct node *node);
void node_close_direct(struct node *node);

/* Data: 0 or -errno. Ranges must lie within size_bytes (-EINVAL else); length 0 succeeds. What is
 * cached is done at once, or -EAGAIN. The others wait for room. What is read marked is a client's:
 * frozen images keep in mind that it was read (read-marks.h). Many ranges ascend, none of them is
 * empty, and their data follow each other in `buf`; is_direct: nobody reads them meanwhile, nor
 * soon. */
int node_read(struct node *node, void *buf, uint64_t offset, uint64_t length);
int node_read_marked(struct node *node, void *buf, uint64_t offset, uint64_t length);
int node_write(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int node_write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int node_write_many(struct node *node, const void *buf, const struct disk_range *ranges,
                    size_t count, bool is_direct);
int node_zero(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int node_zero_fast(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int node_discard(struct node *node, uint64_t offset, uint64_t length);

/* Around I/O that relies on a mapped extent of this node; *is_held: io_lock was acquired. `flags`:
 * MAP_CACHED: -EAGAIN rather than wait; it is 0 without. */
int node_begin_io(struct node *node, unsigned flags, bool *is_held);
void node_end_io(struct node *node, bool is_held);

/* All that returned before is durable on return. Costs nothing if nothing was written since. */
int node_flush(struct node *node);

/* Writeback of the file has failed, as who waited for it was told: the kernel reports that once, so
 * fdatasync would not any more. It counts as a failed sync. */
void node_sync_failed(struct node *node, int errnum);

/* Space that the image takes on its file system; the last known value if fstat fails, or might wait
 * for a storage while `may_wait` is false. */
uint64_t node_allocated_bytes(struct node *node, bool may_wait);

#endif
