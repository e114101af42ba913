/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of the database that users meet: GET /limits lists each constant of this file. What is
 * beyond one goes, the oldest first, but for STORE_PAGE_BYTES_MAX.
 */
#ifndef STORE_LIMITS_H
#define STORE_LIMITS_H

#define STORE_EVENTS_MAX         1000000
#define STORE_EVENT_DAYS_MAX     400
#define STORE_KEYS_MAX           10000 /* of one caller */
#define STORE_ABORTED_GROUPS_MAX 1000
#define STORE_ABORTED_DAYS_MAX   30
#define STORE_DELETED_GROUPS_MAX 1000 /* to which nothing refers */
#define STORE_DELETED_DAYS_MAX   30
#define STORE_HOLDS_MAX          64         /* of one group; no more are taken */
#define STORE_JOBS_MAX           1000       /* that have finished */
#define STORE_JOB_DAYS_MAX       30         /* after their end */
#define STORE_TOKEN_DAYS_MAX     30         /* after its expiry */
#define STORE_KEEPERS_MAX        16         /* named of those that stand on one image */
#define STORE_PAGE_BYTES_MAX     (1U << 20) /* of rows; a page ends after the one that reaches it */

#endif
