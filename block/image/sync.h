/* SPDX-License-Identifier: Apache-2.0
 *
 * Syncs of many files at once.
 */
#ifndef BLOCK_IMAGE_SYNC_H
#define BLOCK_IMAGE_SYNC_H

#include <stddef.h>

/* fsyncs all descriptors concurrently; results[i] gets 0 or -errno. Any thread. */
void file_sync_all(const int *fds, size_t count, int *results);

#endif
