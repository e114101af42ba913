/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers of threads, for what threads are to count or list on cache lines of their own. Private to
 * block/.
 */
#ifndef BLOCK_DEVICE_THREAD_NUMBER_H
#define BLOCK_DEVICE_THREAD_NUMBER_H

/* Of the calling thread: 1, 2, ... in order of their first call. */
unsigned thread_number(void);

#endif
