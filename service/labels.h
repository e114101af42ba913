/* SPDX-License-Identifier: Apache-2.0
 *
 * Changing the labels of a group, and the conditions of every change of a row.
 *
 * The version of a row is the beginning of its id and its revision, which every change of what a
 * GET shows of the row counts up; so another device of the same name has another version. A change
 * reads the row, asks the condition, and writes only if the revision is still the one that was
 * read; else it begins again. Any thread.
 */
#ifndef SERVICE_LABELS_H
#define SERVICE_LABELS_H

#include "base/err.h"
#include "store/group-row.h"

struct origin;
struct service;

#define VERSION_BYTES 32 /* of a version's text */

void version_format(const char *id, uint64_t revision, char text[VERSION_BYTES]);

/* Which versions a change may be made to. NULL: any. */
struct condition {
    const void *context;
    bool (*allows)(const void *context, const char *version);
};

/* PreconditionFailed. */
int condition_check(const struct condition *condition, const char *id, uint64_t revision,
                    struct err *err);

struct labels_change {
    const struct origin *origin;
    const struct condition *condition; /* or NULL */
    void *context;
    /* The labels that follow from those there are (JSON text); heap. NULL and *err. */
    char *(*merge)(void *context, const char *labels, struct err *err);
};

/* By id or name. GroupNotFound, PreconditionFailed, and the codes of `merge` and the store. `row`
 * is the group after the change. */
int group_labels_change(struct service *service, const char *id_or_name,
                        const struct labels_change *change, struct group_row *row, struct err *err);

#endif
