/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the frozen images of groups exist, as far as their storage says so in time. No answer
 * hangs: the files are looked at by threads of a bounded set, and a list, or a group alone, waits
 * for them no longer than READINESS_WAIT_MS. Any thread.
 */
#ifndef SERVICE_READINESS_H
#define SERVICE_READINESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct block;
struct group_row;
struct member_row;
struct readiness;

#define READINESS_WAIT_MS 1000

enum member_readiness {
    MEMBER_UNKNOWN, /* its storage does not answer */
    MEMBER_MISSING,
    MEMBER_READY,
};

/* NULL and *err (OutOfResources). */
struct readiness *readiness_new(struct block *block, struct err *err);

/* Waits for storage that is being waited for. The caller starts nothing more. NULL: nothing. */
void readiness_close(struct readiness *readiness);

/* Whether the row says that the member is frozen: its group is committed, or it is itself. */
bool member_is_frozen(const struct group_row *row, const struct member_row *member);

/* Of all members of the rows, in their order, whether they can be read: a member is committed, by
 * itself or with its group, and the frozen image is the file that was frozen. Heap; NULL: there is
 * no memory. */
enum member_readiness *readiness_list(struct readiness *readiness, const struct group_row *rows,
                                      size_t count);

/* The same of a group that was committed a moment ago: its images were looked at while it was
 * prepared, and have been synced since, so nobody is asked again. */
enum member_readiness *readiness_when_committed(const struct group_row *row);

#endif
