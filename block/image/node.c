/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes: what wraps every driver callback. See node.h and driver.h; freeze.c has the states.
 *
 * A read walks down the chain one extent at a time: the driver reports data, zeros, or "ask below";
 * past the end of a shorter backing image there are zeros. It is a loop, not a recursion: chains
 * get long. Data are read from their place in the file; only encoded data go through the driver.
 *
 * N1. A node that is read has no journal, unless a sync of it failed.
 * N2. A guest's size is a multiple of a sector.
 * N3. `unflushed` is set before the caller of a change returns, and cleared before a flush looks at
 *     anything: a flush that finds it clear has nothing acknowledged to make durable. No assert: a
 *     change may set it at any time.
 * N4. A sync that failed is never retried: sync_error, once set, stays.
 */
#include "block/image/node.h"

#include "base/log.h"
#include "block/image/file-io.h"
#include "block/image/file-table.h"
#include "block/image/journal-load.h"
#include "block/image/lock.h"
#include "block/image/read-marks.h"
#include "block/image/sync-note.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* Less is faster by way of the page cache, where neighbours are written back together. */
enum { DIRECT_BYTES_MIN = 128 << 10 };

static uint64_t stat_allocated_bytes(const struct stat *st)
{
    return (uint64_t)st->st_blocks * 512; /* stat(2): in units of 512 bytes */
}

/* Whether fstat(2) of an open file never waits for a storage. That of others may ask a server. */
static bool file_stat_is_instant(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 &&
           (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
            fs.f_type == BTRFS_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC);
}

enum node_state node_state(const struct node *node)
{
    if (atomic_load(&node->read_only))
        return NODE_READING;
    if (atomic_load(&node->sync_error))
        return NODE_FAILED;
    return atomic_load(&node->was_thawed) ? NODE_THAWED : NODE_WRITABLE;
}

void node_assert_state(const struct node *node)
{
    assert(atomic_load(&node->refs) > 0);
    assert(node->size_bytes % BLOCK_SECTOR_BYTES == 0); /* N2 */
    enum node_state state = node_state(node);
    bool may_have_journal = state != NODE_READING || atomic_load(&node->sync_error);
    assert(may_have_journal || !node->journal); /* N1 */
    assert(!node->is_unwanted);
    (void)may_have_journal;
}

/* A driver that waits to reuse space must not wait behind ever new requests. */
static void node_init_io_lock(struct node *node)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&node->io_lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

int node_unwanted_error(const char *path, struct err *err)
{
    return err_set(err, ErrNotReady, 0,
                   "the opening of image '%s' was given up: its device was deleted, or the daemon "
                   "is ending",
                   path);
}

struct node *node_open(int fd, const char *path, const struct driver *driver, bool read_only,
                       struct node *backing, struct err *err)
{
    return node_open_wanted(fd, path, driver, read_only, backing, NULL, err);
}

/* A node that owns no descriptor yet. NULL when memory is short. */
static struct node *node_new(const char *path, bool read_only)
{
    struct node *node = calloc(1, sizeof(*node));
    char *path_copy = strdup(path);
    if (!node || !path_copy) {
        free(node);
        free(path_copy);
        return NULL;
    }
    pthread_mutex_init(&node->flush_lock, NULL);
    node_init_io_lock(node);
    atomic_init(&node->refs, 1);
    atomic_init(&node->read_only, read_only);
    node->fd = -1;
    node->direct_fd = -1;
    atomic_init(&node->journals_fd, -1);
    node->path = path_copy;
    return node;
}

/* Finds out which file the descriptor is of, and what asking about it costs. */
static int node_examine(struct node *node, int fd, struct err *err)
{
    struct stat st;
    int ret = fstat(fd, &st) == 0 ? identity_of(fd, &node->identity) : -errno;
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be examined", node->path);
    node->dev = st.st_dev;
    node->ino = st.st_ino;
    node->is_stat_instant = file_stat_is_instant(fd);
    atomic_init(&node->allocated_bytes, stat_allocated_bytes(&st));
    return 0;
}

struct node *node_open_wanted(int fd, const char *path, const struct driver *driver, bool read_only,
                              struct node *backing, const atomic_bool *is_unwanted, struct err *err)
{
    struct node *node = node_new(path, read_only);
    if (!node) {
        err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", path);
        return NULL;
    }
    node->driver = driver;
    node->fd = fd;
    node->is_unwanted = is_unwanted;
    if (node_examine(node, fd, err) != 0 ||
        image_lock(fd, path, read_only, &node->is_locked, err) != 0 ||
        driver->open(node, err) != 0) {
        node->fd = -1;
        node->driver = NULL;
        node_unref(node);
        return NULL;
    }
    node->is_unwanted = NULL;
    node->backing = backing ? node_ref(backing) : NULL;
    node_assert_state(node);
    return node;
}

const char *node_used_path(const struct node *node)
{
    return node->alias ? node->alias : node->path;
}

/* ---- the journal ---- */

/* From now on the image can be told from what it was before. Without room for a stamp, or for its
 * write, it cannot. */
static void node_stamp(struct node *node)
{
    unsigned char stamp[JOURNAL_STAMP_BYTES];
    if (node->stamp_at && getrandom(stamp, sizeof(stamp), 0) == sizeof(stamp) &&
        file_write(node->fd, stamp, node->stamp_at, sizeof(stamp)) == 0)
        journal_set_stamp(node->journal, stamp);
}

/* Whether the image has the stamp of its journal. */
static bool node_check_stamp(const struct node *node)
{
    unsigned char found[JOURNAL_STAMP_BYTES];
    const unsigned char *stamp = journal_stamp(node->journal);
    return !stamp ||
           (node->stamp_at && file_read(node->fd, found, node->stamp_at, sizeof(found)) == 0 &&
            memcmp(found, stamp, sizeof(found)) == 0);
}

int node_add_journal(struct node *node, int dirfd, struct err *err)
{
    node->journals_fd = dirfd;
    if (dirfd < 0 || !node->driver->set_writable)
        return 0;
    node->journal = journal_create(dirfd, &node->identity, node->path, node->driver->name, err);
    if (!node->journal)
        return -1;
    node_stamp(node);
    return 0;
}

/* An earlier daemon may have acknowledged writes that are in the page cache only. */
static void node_assume_unflushed(struct node *node, int dirfd)
{
    atomic_store(&node->unflushed, true);
    node->journals_fd = dirfd;
}

int node_begin_writing(struct node *top, int dirfd, struct err *err)
{
    node_assert_state(top);
    assert(node_state(top) == NODE_WRITABLE);
    node_assume_unflushed(top, dirfd);
    if (top->backing)
        node_assume_unflushed(top->backing, dirfd);
    return top->journal ? 0 : node_add_journal(top, dirfd, err);
}

static int node_replay_records(struct node *node, size_t *count, struct err *err)
{
    CLEANUP_FREE struct journal_record *records = NULL;
    if (journal_records(node->journal, &records, count, err) != 0 ||
        image_lock(node->fd, node->path, false, &node->is_locked, err) != 0)
        return -1;
    if (!node_check_stamp(node))
        return err_set(err, ErrUnflushedData, 0,
                       "image '%s' is as it was before it was last opened", node->path);
    if (node->driver->set_writable(node, true, records, *count, err) == 0)
        return 0;
    if (err->code == ErrOpenFileFailed && !err->errnum)
        err->code = ErrUnflushedData; /* another program changed the image: a retry is useless */
    return -1;
}

int node_replay(struct node *node, struct journal *journal, int dirfd, struct err *err)
{
    size_t count;
    node_assert_state(node);
    assert(node_state(node) == NODE_READING && !node->journal);
    node->journal = journal;
    node->journals_fd = dirfd;
    if (node_replay_records(node, &count, err) != 0)
        return -1;
    int ret = journal_rename(journal, node->fd, node->path);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "journal of image '%s' cannot be renamed",
                       node->path);
    journal_resume(journal, count);
    atomic_store(&node->read_only, false);
    atomic_store(&node->unflushed, true);
    node_assert_state(node);
    log_info("image '%s': %zu changes of its tables were replayed", node->path, count);
    return 0;
}

void node_end_journal(struct node *node, bool discard)
{
    LOCK_GUARD(&node->flush_lock);
    if (!node->journal) /* others may look, without the lock, whether there is one */
        return;
    assert(!node->ended);
    journal_end(node->journal, discard);
    node->ended = steal(node->journal);
}

bool node_free_journal(struct node *node)
{
    pthread_mutex_lock(&node->flush_lock);
    struct journal *ended = steal(node->ended);
    pthread_mutex_unlock(&node->flush_lock);
    bool was_there = ended;
    journal_free(ended);
    return was_there;
}

bool node_is_unflushed(struct node *node)
{
    LOCK_GUARD(&node->flush_lock);
    return atomic_load(&node->sync_error) || atomic_load(&node->unflushed) ||
           (node->journal && !journal_is_empty(node->journal));
}

void node_add_claim(struct node *node, struct file_claim *claim)
{
    assert(!node->claim);
    node->claim = claim;
}

void node_add_alias(struct node *node, char *alias)
{
    assert(!node->alias);
    node->alias = alias;
}

void node_add_backing(struct node *node, struct node *backing)
{
    assert(!node->backing && node->backing_file);
    node->backing = backing;
}

struct node *node_share(struct node *node)
{
    if (!node->claim || !atomic_load(&node->read_only))
        return NULL;
    const struct shared_image image = {node, &node->refs, node_used_path(node), node->driver};
    return file_claim_share(node->claim, &image);
}

void node_watch(struct node *node, void (*changed)(void *arg, uint64_t offset, uint64_t length),
                void *arg)
{
    assert(!changed || !node->changed);
    node->changed_arg = arg;
    node->changed = changed;
}

void node_watch_instead(struct node *node, void *from, void *to)
{
    atomic_compare_exchange_strong(&node->changed_arg, &from, to);
}

struct node *node_exchange_backing(struct node *node, struct node *backing)
{
    assert(atomic_load(&node->backing));
    return atomic_exchange(&node->backing, node_ref(backing));
}

struct node *node_ref(struct node *node)
{
    atomic_fetch_add(&node->refs, 1);
    return node;
}

void node_unref(struct node *node)
{
    while (node && atomic_fetch_sub(&node->refs, 1) == 1) {
        struct node *backing = node->backing;
        if (node->driver)
            node->driver->close(node);
        journal_close(node->journal, false);
        journal_free(node->ended);
        node_close_direct(node);
        free(node->read_marks);
        if (node->fd >= 0)
            close(node->fd);
        if (node->claim)
            file_claim_release(node->claim);
        pthread_rwlock_destroy(&node->io_lock);
        pthread_mutex_destroy(&node->flush_lock);
        free(node->backing_file);
        free(node->backing_format);
        free(node->path);
        free(node->alias);
        free(node);
        node = backing;
    }
}

int node_give_up(struct node *node)
{
    int ret = atomic_load(&node->read_only) ? 0 : node_flush(node);
    node_unref(node);
    return ret;
}

static bool node_has_range(const struct node *node, uint64_t offset, uint64_t length)
{
    return offset <= node->size_bytes && length <= node->size_bytes - offset;
}

int node_begin_io(struct node *node, unsigned flags, bool *is_held)
{
    *is_held = !atomic_load(&node->read_only);
    if (!*is_held)
        return 0;
    if (flags & MAP_CACHED)
        return pthread_rwlock_tryrdlock(&node->io_lock) == 0 ? 0 : -EAGAIN;
    pthread_rwlock_rdlock(&node->io_lock);
    return 0;
}

void node_end_io(struct node *node, bool is_held)
{
    if (is_held)
        pthread_rwlock_unlock(&node->io_lock);
}

int node_read_data(struct node *node, void *buf, uint64_t offset, unsigned flags,
                   const struct extent *extent)
{
    if (extent->host == EXTENT_NO_HOST)
        return flags & MAP_CACHED ? -EAGAIN : node->driver->read(node, buf, offset, extent->length);
    return flags & MAP_CACHED ? file_read_cached(node->fd, buf, extent->host, extent->length)
                              : file_read_padded(node->fd, buf, extent->host, extent->length);
}

int node_write_data(struct node *node, const void *buf, uint64_t host, uint64_t length,
                    unsigned flags)
{
    return flags & WRITE_DIRECT && node->direct_fd >= 0 && length >= DIRECT_BYTES_MIN
               ? file_write_direct(node->fd, node->direct_fd, buf, host, length)
               : file_write(node->fd, buf, host, length);
}

void node_open_direct(struct node *node)
{
    assert(node->direct_fd < 0);
    node->direct_fd = file_reopen(node->fd, O_WRONLY | O_DIRECT);
}

void node_close_direct(struct node *node)
{
    if (node->direct_fd >= 0)
        close(node->direct_fd);
    node->direct_fd = -1;
}

/* One layer's extent and, if it has some, its data. */
static int node_read_layer(struct node *node, void *buf, uint64_t offset, unsigned flags,
                           struct extent *extent)
{
    bool is_held;
    int ret = node_begin_io(node, flags, &is_held);
    if (ret)
        return ret;
    const uint64_t maximum = extent->length;
    ret = node->driver->map(node, offset, flags, extent);
    assert(ret || (extent->length > 0 && extent->length <= maximum));
    (void)maximum;
    if (ret == 0 && extent->kind == EXTENT_DATA)
        ret = node_read_data(node, buf, offset, flags, extent);
    node_end_io(node, is_held);
    if (flags & MAP_MARKED && ret == 0 && extent->kind == EXTENT_DATA)
        read_marks_set(node, offset, extent->length);
    return ret;
}

/* Reads from `node` downwards as far as one extent reaches; *length says how far that was. The
 * range may pass the end of `node`: zeros. */
static int node_read_extent(struct node *node, void *buf, uint64_t offset, unsigned flags,
                            uint64_t *length)
{
    for (; node; node = node->backing) {
        if (offset >= node->size_bytes)
            break;
        if (*length > node->size_bytes - offset)
            *length = node->size_bytes - offset;
        struct extent extent = {.length = *length};
        int ret = node_read_layer(node, buf, offset, flags, &extent);
        if (ret)
            return ret;
        *length = extent.length;
        if (extent.kind == EXTENT_DATA)
            return 0;
        if (extent.kind == EXTENT_ZERO)
            break;
    }
    memset(buf, 0, *length);
    return 0;
}

static int node_read_chain(struct node *node, void *buf, uint64_t offset, uint64_t length,
                           unsigned flags)
{
    while (length) {
        uint64_t n = length;
        int ret = node_read_extent(node, buf, offset, flags, &n);
        if (ret)
            return ret;
        buf = (char *)buf + n;
        offset += n;
        length -= n;
    }
    return 0;
}

static int node_read_range(struct node *node, void *buf, uint64_t offset, uint64_t length,
                           unsigned flags)
{
    return node_has_range(node, offset, length) ? node_read_chain(node, buf, offset, length, flags)
                                                : -EINVAL;
}

int node_read(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    return node_read_range(node, buf, offset, length, 0);
}

int node_read_marked(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    return node_read_range(node, buf, offset, length, MAP_MARKED);
}

int node_read_backing(struct node *node, void *buf, uint64_t offset, uint64_t length,
                      unsigned flags)
{
    return node_read_chain(node->backing, buf, offset, length, flags);
}

/* Whether a change may go ahead: 0, 1 for "nothing to do", or -errno. */
static int node_check_change(const struct node *node, uint64_t offset, uint64_t length)
{
    if (!node_has_range(node, offset, length))
        return -EINVAL;
    if (atomic_load(&node->read_only))
        return -EROFS;
    return length == 0;
}

/* A write that failed, or was not done at once, may have changed something too. */
static int node_changed(struct node *node, int ret)
{
    atomic_store(&node->unflushed, true);
    return ret;
}

int node_make_room(struct node *node)
{
    return node->driver->make_room ? node->driver->make_room(node) : 0;
}

static int change_make(struct node *node, const struct node_change *change)
{
    const struct driver *driver = node->driver;
    uint64_t offset = change->offset, length = change->length;
    unsigned unmap = change->unmap ? ZERO_UNMAP : 0;
    switch (change->kind) {
    case NODE_WRITE:
        return driver->write(node, change->buf, offset, length, 0);
    case NODE_ZERO:
        return driver->zero(node, offset, length, unmap);
    case NODE_ZERO_FAST:
        return driver->zero(node, offset, length, unmap | ZERO_FAST);
    case NODE_DISCARD:
        return driver->zero(node, offset, length, ZERO_DISCARD);
    }
    return -EINVAL;
}

int node_change(struct node *node, const struct node_change *change)
{
    int ret = node_check_change(node, change->offset, change->length);
    if (ret)
        return ret < 0 ? ret : 0;
    return node_changed(node, change_make(node, change));
}

/* For one whom nobody waits for. */
static int node_change_whole(struct node *node, const struct node_change *change)
{
    int ret;
    do {
        ret = node_make_room(node);
        if (ret == 0)
            ret = node_change(node, change);
    } while (ret == NODE_NEEDS_ROOM);
    return ret;
}

int node_write(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    return node_change_whole(node, &(struct node_change){NODE_WRITE, buf, offset, length, false});
}

static int ranges_write(struct node *node, const char *buf, const struct disk_range *ranges,
                        size_t count, unsigned flags)
{
    int ret = 0;
    if (node->driver->write_many)
        return node->driver->write_many(node, buf, ranges, count, flags);
    for (size_t i = 0; i < count && ret == 0; buf += ranges[i++].length)
        ret = node->driver->write(node, buf, ranges[i].offset, ranges[i].length, flags);
    return ret;
}

/* While no flush writes tables: they go through the page cache, where a table may have been read
 * ahead together with what is written here. If the kernel finds such pages changed at the end of a
 * direct write, it has the next fdatasync fail. */
static int ranges_write_direct(struct node *node, const char *buf, const struct disk_range *ranges,
                               size_t count)
{
    LOCK_GUARD(&node->flush_lock);
    return ranges_write(node, buf, ranges, count, WRITE_DIRECT);
}

int node_write_many(struct node *node, const void *buf, const struct disk_range *ranges,
                    size_t count, bool is_direct)
{
    int ret = 0;
    for (size_t i = 0; i < count && ret == 0; i++) {
        ret = node_check_change(node, ranges[i].offset, ranges[i].length);
        assert(ret <= 0);
        assert(i == 0 || ranges[i].offset >= ranges[i - 1].offset + ranges[i - 1].length);
    }
    while (ret == 0 && (ret = node_make_room(node)) == 0) {
        ret = is_direct ? ranges_write_direct(node, buf, ranges, count)
                        : ranges_write(node, buf, ranges, count, 0);
        node_changed(node, ret);
        if (ret != NODE_NEEDS_ROOM)
            return ret;
        ret = 0;
    }
    return ret;
}

int node_write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length)
{
    int ret = node_check_change(node, offset, length);
    if (ret)
        return ret < 0 ? ret : 0;
    return node_changed(node, node->driver->write(node, buf, offset, length, WRITE_CACHED));
}

int node_zero(struct node *node, uint64_t offset, uint64_t length, bool unmap)
{
    return node_change_whole(node, &(struct node_change){NODE_ZERO, NULL, offset, length, unmap});
}

int node_zero_fast(struct node *node, uint64_t offset, uint64_t length, bool unmap)
{
    return node_change_whole(node,
                             &(struct node_change){NODE_ZERO_FAST, NULL, offset, length, unmap});
}

int node_discard(struct node *node, uint64_t offset, uint64_t length)
{
    return node_change_whole(node,
                             &(struct node_change){NODE_DISCARD, NULL, offset, length, false});
}

int node_flush(struct node *node)
{
    LOCK_GUARD(&node->flush_lock);
    int sync_error = atomic_load(&node->sync_error);
    if (sync_error)
        return -sync_error;
    if (!atomic_exchange(&node->unflushed, false))
        return 0;
    int ret = node->driver->flush(node);
    if (ret)
        atomic_store(&node->unflushed, true);
    else if (!node->is_stat_instant)
        node_allocated_bytes(node, true); /* for callers that must not wait */
    return ret;
}

void node_sync_failed(struct node *node, int errnum)
{
    sync_note_write(node->journals_fd, node->fd, node->path, errnum);
    atomic_store(&node->sync_error, errnum);
}

int node_sync(struct node *node)
{
    int sync_error = atomic_load(&node->sync_error);
    int ret = 0;
    while (!sync_error && (ret = fdatasync(node->fd)) != 0 && errno == EINTR)
        ; /* a signal came: nothing was tried */
    if (ret != 0) {
        sync_error = errno;
        node_sync_failed(node, sync_error);
    }
    assert(!sync_error || atomic_load(&node->sync_error)); /* N4 */
    return -sync_error;
}

uint64_t node_allocated_bytes(struct node *node, bool may_wait)
{
    struct stat st;
    if ((may_wait || node->is_stat_instant) && fstat(node->fd, &st) == 0)
        atomic_store(&node->allocated_bytes, stat_allocated_bytes(&st));
    return atomic_load(&node->allocated_bytes);
}
