/* SPDX-License-Identifier: Apache-2.0
 *
 * Holds: names under which users of a group, such as a backup, a policy or a person, keep it from
 * being deleted. Each has its own, so that none takes away another one's. Any thread.
 */
#ifndef SERVICE_HOLDS_H
#define SERVICE_HOLDS_H

#include "base/err.h"
#include "store/group-row.h"

#include <stdbool.h>

struct condition;
struct origin;
struct service;

/* A hold that is there stays: *is_new is false. `row` is the group afterwards, to be cleared in
 * every case. GroupNotFound (also: it was aborted or deleted), GroupDeleting, PreconditionFailed,
 * TooManyHolds, InvalidParameter (the name), StoreFailed. */
int group_hold(struct service *service, const char *id_or_name, const char *name,
               const struct condition *condition, const struct origin *origin,
               struct group_row *row, bool *is_new, struct err *err);

/* A hold that is not there is no error. GroupNotFound, PreconditionFailed, InvalidParameter,
 * StoreFailed. */
int group_release(struct service *service, const char *id_or_name, const char *name,
                  const struct condition *condition, const struct origin *origin, struct err *err);

#endif
