/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of an open image's header. Private to block/. Also of frozen nodes: then the file is
 * opened for writing for this one change, while a reader's lock is held as before. Who opens the
 * image meanwhile sees one header or the other; a program that reads it at the very instant of the
 * write, in parts, is not excluded.
 */
#ifndef BLOCK_IMAGE_AMEND_H
#define BLOCK_IMAGE_AMEND_H

#include "block/image/node.h"

/* Names another backing file, which gives the same view: `name` as the header is to have it. The
 * open chain stays as it is. Durable on return; a power loss leaves the one name or the other.
 * Reads and changes may be under way. 0, or -1 and *err: InvalidValue (node_can_set_backing()),
 * OpenFileFailed; after a failed sync either name may be there. */
int node_set_backing(struct node *node, const char *name, const char *format, struct err *err);

/* Whether the header has room for that name. 0, or -1 and *err (InvalidValue, OpenFileFailed). */
int node_can_set_backing(struct node *node, const char *name, const char *format, struct err *err);

/* Makes the disk of a node that may be written larger; the new part reads as zeros. Durable on
 * return; a power loss leaves the old size or the new one. Reads may be under way, changes may not.
 * 0, or -1 and *err: InvalidValue (node_can_grow()), OpenFileFailed; after a failed sync it may
 * have either size. */
int node_grow(struct node *node, uint64_t size_bytes, struct err *err);

/* Whether it can become that large: its format allows it, and nothing that the disk hid of its
 * backing file would appear. Also of a frozen node. 0, or -1 and *err (InvalidValue). */
int node_can_grow(struct node *node, uint64_t size_bytes, struct err *err);

#endif
