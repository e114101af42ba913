/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of the use cases that callers meet: GET /limits lists each constant of this file.
 */
#ifndef SERVICE_LIMITS_H
#define SERVICE_LIMITS_H

/* Addresses, and groups of users, that an option may name. */
#define OPTIONS_ADDRESSES_MAX 16
#define OPTIONS_GROUPS_MAX    16

/* Calls at a time that need the store. Those that do not are not counted, so they find threads and
 * connections while the others wait for a disk. */
#define SERVICE_CALLS_MAX 256

/* Groups that run at the same time, those included whose calls have returned. */
#define GROUP_RUNS_MAX 256

#define GROUP_DEADLINE_MAX_MS 3600000
#define GROUP_SETTLE_MAX_MS   600000

/* Extents of a page; calls for pages at the same time, and how long one waits for storage. */
#define EXTENT_ITEMS_MAX   10000
#define EXTENT_CALLS_MAX   64
#define EXTENT_WAIT_MAX_MS 10000

/* How long the plan of a delete or a copy waits for storage that does not answer. */
#define PLAN_WAIT_MAX_MS 5000

/* Jobs that are at work at the same time, and those included that wait for storage that does not
 * answer (job-control.h). */
#define JOBS_RUNNING_MAX 2
#define JOBS_BEGUN_MAX   16

/* All requests and replies together (memory.h). */
#define MEMORY_BYTES_MAX ((size_t)512 << 20)

#define KEY_CHARS_MAX 128 /* of an Idempotency-Key */

#define TOKEN_NAME_MAX 64 /* characters */
#define TOKENS_MAX     1000

#endif
