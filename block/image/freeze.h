/* SPDX-License-Identifier: Apache-2.0
 *
 * What changes whether a node may be written: freezing a top, thawing a frozen node for a push, and
 * freezing it again. Private to block/. One call at a time on a node; reads may be under way, no
 * change may.
 */
#ifndef BLOCK_IMAGE_FREEZE_H
#define BLOCK_IMAGE_FREEZE_H

#include "block/image/node.h"

/* Flushes, then turns the node read-only, its lock and its file descriptor too, and ends its
 * journal; there is no instant at which another writer could lock the image. 0, or the flush's
 * -errno: after a failed sync the node is read-only all the same, but its journal stays; after
 * anything else all is as it was, and it may be called again. Other failures are logged.
 *
 * Space that the changes of a thawed node have freed stays in use, unless node_release_freed() came
 * first: the next thaw goes on with it; if the node is closed before, it is leaked. */
int node_freeze(struct node *node);

/* Makes a frozen node writable again, or goes on with one that could not be frozen after a thaw;
 * without a journal: nobody is told that a change is done before a flush. There is no instant at
 * which another writer could lock the image. The caller writes only where a frozen layer above
 * holds data or zeros, so readers, which may have mapped the node while it was frozen, see the
 * bytes that they saw before: those elsewhere stay readable where they were, since no space that a
 * change frees is used again. `dirfd`: where a failed sync is noted, as for node_add_journal(). 0,
 * or -1 and *err, and all is as it was. Codes: DeviceInUse (another node of this daemon has the
 * file), OpenFileFailed (another process has it, or it cannot be opened or locked: a retry may
 * succeed), InvalidBlockFormat (dirty, corrupt, damaged), UnflushedData (a sync of it failed). */
int node_thaw(struct node *node, int dirfd, struct err *err);

/* Of a thawed node: nobody knows an extent from before the thaw any more. The next flush releases
 * the space that changes have freed. */
void node_release_freed(struct node *node);

/* A thawed node gets a journal in that directory, as by node_add_journal(), unless it has one; all
 * of it is durable, and no change is under way. 0, or -1 and *err (OpenFileFailed). */
int node_begin_twin(struct node *node, int dirfd, struct err *err);

/* No chain that is opened from now on gets the node, until it is frozen. */
void node_keep_alone(struct node *node);

/* A thawed node with a journal is the top of a device, as one that was never frozen, and no device
 * has it beneath its top. The space that changes have freed is released. */
void node_become_top(struct node *node);

#endif
