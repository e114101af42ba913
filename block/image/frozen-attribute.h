/* SPDX-License-Identifier: Apache-2.0
 *
 * A frozen file says so itself, too, for a daemon whose database does not: one that was restored
 * from a time before the file was frozen, or another daemon's with the same images. The database
 * decides (file-table.h); this is for what it does not know. Private to block/.
 *
 * The extended attribute holds the file's identity, so that a copy which took it along is not
 * frozen. Where there are no such attributes, or identities do not last, or the file is somebody
 * else's, nothing is marked.
 */
#ifndef BLOCK_IMAGE_FROZEN_ATTRIBUTE_H
#define BLOCK_IMAGE_FROZEN_ATTRIBUTE_H

#include "block/image/identity.h"

#define FROZEN_ATTRIBUTE "user.snapgroupd.frozen"

/* Marks the file, where that is possible. It is not synced. False: it was marked before. */
bool frozen_attribute_set(int fd, const struct identity *identity);

bool frozen_attribute_is_set(int fd, const struct identity *identity);

/* Removes the mark, if there is one. 0 or -errno. */
int frozen_attribute_clear(int fd);

#endif
