/* SPDX-License-Identifier: Apache-2.0
 *
 * Freezing and thawing. See freeze.h.
 *
 *     node_open read-only --> READING <--------------------+---------------------+
 *                               | |                        | node_freeze         | node_freeze
 *                               | +--node_thaw--> THAWED --+--(node_sync fails)--+--> FAILED
 *                               |                                                       ^  |
 *                               +--node_replay--> WRITABLE --(node_sync fails)----------+  |
 *     node_open to write ----------------------->    |                                     |
 *                                                    | node_freeze                         |
 *                             READING <--------------+      READING, a journal is kept <---+
 *
 *     THAWED --node_begin_twin--> THAWED, with a journal --node_become_top--> WRITABLE
 *
 * The descriptor keeps its number, and dup3 exchanges the description behind it: I/O under way goes
 * on with the old one. The lock of a description goes with it, so the new one has a reader's bytes
 * before it is put in place; a writer has a reader's bytes too. So at every instant some
 * description bars other writers:
 *
 *     freeze   writer's bytes on the old, reader's bytes on the old, and on the new; exchange
 *     thaw     reader's bytes on the old, and on the new; exchange; writer's bytes on the new
 *
 * I/O under way would keep the old description, whose lock the next thaw would take for somebody
 * else's, so it is unlocked once the new one is in place.
 *
 *   Z1  A node whose sync failed is never thawed.
 *   Z2  was_thawed is set before read_only is cleared, and stays, unless the node becomes a top:
 *       who finds read_only clear and then was_thawed clear has a node that was never frozen, or is
 *       a top. No assert: others look at any time.
 */
#include "block/image/freeze.h"

#include "base/log.h"
#include "block/image/file-io.h"
#include "block/image/file-table.h"
#include "block/image/lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Exchanges the description. 0 or -errno: all stays as it was. */
static int node_reopen(struct node *node, int flags)
{
    CLEANUP_CLOSE int fd = file_reopen(node->fd, flags);
    CLEANUP_CLOSE int old = fd < 0 ? -1 : fcntl(node->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || old < 0)
        return -errno;
    int ret = node->is_locked ? image_lock_share(fd) : 0;
    if (ret == 0 && dup3(fd, node->fd, O_CLOEXEC) < 0)
        ret = -errno;
    if (ret == 0 && node->is_locked)
        image_unlock(old);
    return ret;
}

/* Nothing of it can fail the caller. */
static void node_become_reader(struct node *node)
{
    /* Before `read_only` lets others of this process open the image. */
    int unlocked = node->is_locked ? image_lock_to_reader(node->fd) : 0;
    atomic_store(&node->read_only, true);
    if (node->claim)
        file_claim_to_reader(node->claim);
    int reopened = node_reopen(node, O_RDONLY);
    if (reopened)
        log_warning("frozen image '%s' keeps a descriptor that could write%s: %s", node->path,
                    unlocked ? ", and a lock that bars even readers until the device is detached"
                             : "",
                    strerror(-reopened));
}

int node_freeze(struct node *node)
{
    node_assert_state(node);
    assert(node_state(node) != NODE_READING);
    int ret = node_flush(node);
    if (ret && !atomic_load(&node->sync_error))
        return ret;
    if (ret == 0)
        node_end_journal(node, false);
    node_become_reader(node);
    if (node->driver->set_writable)
        node->driver->set_writable(node, false, NULL, 0, &(struct err){0});
    node_assert_state(node);
    struct node *other = node_share(node);
    assert(!other); /* it had the file to itself */
    (void)other;
    return ret;
}

/* ---- thawing ---- */

static int node_become_writer(struct node *node, struct err *err)
{
    bool is_locked;
    int ret = node_reopen(node, O_RDWR);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be opened to write",
                       node->path);
    return node->is_locked ? image_lock(node->fd, node->path, false, &is_locked, err) : 0;
}

static int node_thaw_claimed(struct node *node, int dirfd, struct err *err)
{
    LOCK_GUARD(&node->flush_lock);
    if (node_become_writer(node, err) != 0)
        return -1;
    atomic_store(&node->journals_fd, dirfd);
    atomic_store(&node->keeps_freed, true);
    if (node->driver->set_writable && node->driver->set_writable(node, true, NULL, 0, err) != 0)
        return -1;
    atomic_store(&node->was_thawed, true); /* Z2 */
    atomic_store(&node->read_only, false);
    return 0;
}

int node_thaw(struct node *node, int dirfd, struct err *err)
{
    node_assert_state(node);
    int sync_error = atomic_load(&node->sync_error);
    if (sync_error) /* Z1 */
        return err_set(err, ErrUnflushedData, sync_error, "image '%s' could not be made durable",
                       node->path);
    assert(!sync_error);                    /* Z1 */
    if (node_state(node) != NODE_READING) { /* its flusher may find a sync failed by now */
        assert(atomic_load(&node->was_thawed));
        atomic_store(&node->keeps_freed, true);
        return 0; /* it has a journal if it was a twin */
    }
    assert(!node->journal); /* N1 */
    if (node->claim && file_claim_to_writer(node->claim, node->path, err) != 0)
        return -1;
    if (node_thaw_claimed(node, dirfd, err) != 0) {
        node_become_reader(node);
        return -1;
    }
    node_assert_state(node);
    return 0;
}

void node_release_freed(struct node *node)
{
    assert(atomic_load(&node->was_thawed) && node_state(node) != NODE_READING);
    atomic_store(&node->keeps_freed, false);
    atomic_store(&node->unflushed, true); /* or a flush has nothing to do */
}

/* ---- the twin of a top ---- */

int node_begin_twin(struct node *node, int dirfd, struct err *err)
{
    (void)node_free_journal(node); /* of when it was frozen before */
    LOCK_GUARD(&node->flush_lock);
    assert(node_state(node) != NODE_READING && atomic_load(&node->was_thawed));
    return node->journal ? 0 : node_add_journal(node, dirfd, err);
}

void node_keep_alone(struct node *node)
{
    assert(node_state(node) != NODE_READING);
    if (node->claim)
        file_claim_unshare(node->claim);
}

void node_become_top(struct node *node)
{
    node_assert_state(node);
    assert(atomic_load(&node->was_thawed) && !atomic_load(&node->read_only));
    node_release_freed(node);
    atomic_store(&node->was_thawed, false); /* Z2 */
}
