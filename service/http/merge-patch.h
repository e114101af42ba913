/* SPDX-License-Identifier: Apache-2.0
 *
 * Merge patches (RFC 7396) of labels: a string sets a label, null removes it, others stay; null in
 * place of the object removes all. What follows obeys the rules of labels (decode.h).
 */
#ifndef SERVICE_HTTP_MERGE_PATCH_H
#define SERVICE_HTTP_MERGE_PATCH_H

#include "service/http/decode.h"

/* The body of a PATCH; it has no other field. */
struct labels_patch_body {
    const struct cJSON *labels; /* NULL: they stay */
};
extern const struct decode_table labels_patch_body;

/* What a merge needs. Borrows `patch`; a fault of it goes to *problem with its pointer. */
struct labels_patch {
    const struct cJSON *patch;
    struct problem *problem;
};

/* For `merge` of struct labels_change, `context` being a struct labels_patch. */
char *labels_patch_merge(void *context, const char *labels, struct err *err);

#endif
