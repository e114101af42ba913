/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads and writes of whole ranges of a file, by any thread. All but file_reopen() return 0 or
 * -errno.
 */
#ifndef BLOCK_IMAGE_FILE_IO_H
#define BLOCK_IMAGE_FILE_IO_H

#include <stdint.h>

/* Opens the file of a descriptor again, whatever its names: a description of its own, with locks of
 * its own. The descriptor, or -1 with errno. */
int file_reopen(int fd, int flags);

/* -EIO where the file ends within the range. */
int file_read(int fd, void *buf, uint64_t offset, uint64_t length);
int file_write(int fd, const void *buf, uint64_t offset, uint64_t length);

/* Past the page cache, by a descriptor that is open for that; the rest of a range that the file
 * system does not take so is written by `fd`. */
int file_write_direct(int fd, int direct_fd, const void *buf, uint64_t offset, uint64_t length);

/* The part of the range past the end of the file reads as zeros. */
int file_read_padded(int fd, void *buf, uint64_t offset, uint64_t length);

/* The same, but -EAGAIN unless all of the range is in memory; then `buf` is undefined. */
int file_read_cached(int fd, void *buf, uint64_t offset, uint64_t length);

#endif
