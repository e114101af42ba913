/* SPDX-License-Identifier: Apache-2.0
 *
 * Which parts of a frozen image clients of a live device have read, since the image was opened or
 * frozen: what a merge moves is worth its place in the page cache if somebody reads it. A bit a
 * part, of 256 KiB or more: 4 KiB for an image that is read, nothing for another one. Parts are
 * never unmarked. Any thread at any time.
 */
#ifndef BLOCK_IMAGE_READ_MARKS_H
#define BLOCK_IMAGE_READ_MARKS_H

#include "block/image/driver.h"

/* Does nothing to an image that can be written. Ranges of the disk. */
void read_marks_set(struct node *node, uint64_t offset, uint64_t length);

/* Whether a part of the range was read. */
bool read_marks_has(const struct node *node, uint64_t offset, uint64_t length);

#endif
