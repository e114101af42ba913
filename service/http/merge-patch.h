/* SPDX-License-Identifier: Apache-2.0
 *
 * Merge patches (RFC 7396) of labels: a string sets a label, null removes it, others stay; null in
 * place of the object removes all. What follows obeys the rules of labels (decode.h).
 */
#ifndef SERVICE_HTTP_MERGE_PATCH_H
#define SERVICE_HTTP_MERGE_PATCH_H

#include "service/http/decode.h"
#include "service/http/request.h"
#include "service/labels.h"

/* The body of a PATCH of a group, and the first member of other bodies that have labels. */
struct labels_patch_body {
    const struct cJSON *labels; /* NULL: they stay */
};
extern const struct decode_table labels_patch_body;

/* The change that a PATCH makes, and what it needs. */
struct labels_patch {
    struct labels_change change;
    struct condition condition;
    const struct cJSON *patch; /* NULL: nothing changes */
    struct problem *problem;   /* a fault of the patch goes there, with its pointer */
};

/* Fills it from the request, whose body begins with a struct labels_patch_body, and returns the
 * change. All is borrowed, and the struct stays where it is. */
const struct labels_change *labels_patch_begin(struct labels_patch *patch,
                                               const struct request *request,
                                               struct problem *problem);

#endif
