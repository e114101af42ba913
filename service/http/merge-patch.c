/* SPDX-License-Identifier: Apache-2.0
 *
 * See merge-patch.h.
 */
#include "service/http/merge-patch.h"

#include "service/http/condition.h"

#include <string.h>

static const struct decode_field labels_patch_fields[] = {
    {"labels", DECODE_OBJECT_OR_NULL, false, offsetof(struct labels_patch_body, labels), 0},
};

const struct decode_table labels_patch_body =
    DECODE_TABLE(struct labels_patch_body, labels_patch_fields, true);

/* Applies one member of the patch. */
static bool label_merge(struct cJSON *labels, const struct cJSON *member)
{
    cJSON_DeleteItemFromObjectCaseSensitive(labels, member->string);
    if (cJSON_IsNull(member))
        return true;
    struct cJSON *copy = cJSON_Duplicate(member, true);
    if (copy && cJSON_AddItemToObject(labels, member->string, copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

/* A name that is given twice could mean either. */
static int patch_check(const struct cJSON *patch, struct problem *problem)
{
    const struct cJSON *member;
    cJSON_ArrayForEach(member, patch)
    {
        for (const struct cJSON *other = patch->child; other != member; other = other->next)
            if (strcmp(other->string, member->string) == 0) {
                err_set(&problem->err, ErrDuplicateField, 0, "label '%s' is given twice",
                        member->string);
                return decode_point(problem, "/labels", member->string);
            }
    }
    return 0;
}

static struct cJSON *patch_apply(const struct cJSON *patch, const char *labels)
{
    CLEANUP(json) struct cJSON *merged = cJSON_Parse(patch && cJSON_IsNull(patch) ? "{}" : labels);
    const struct cJSON *member;
    if (!merged)
        return NULL;
    cJSON_ArrayForEach(member, patch)
    {
        if (!label_merge(merged, member))
            return NULL;
    }
    return steal(merged);
}

static char *patch_merge(void *context, const char *labels, struct err *err)
{
    const struct labels_patch *patch = context;
    struct problem *problem = patch->problem;
    CLEANUP(json) struct cJSON *merged = NULL;
    char *text = NULL;
    if (patch_check(patch->patch, problem) == 0) {
        merged = patch_apply(patch->patch, labels);
        if (merged)
            text = decode_labels(merged, "/labels", problem);
        else
            err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the labels");
    }
    if (!text)
        *err = problem->err;
    return text;
}

const struct labels_change *labels_patch_begin(struct labels_patch *patch,
                                               const struct request *request,
                                               struct problem *problem)
{
    const struct labels_patch_body *body = request->fields;
    *patch = (struct labels_patch){.patch = body->labels, .problem = problem};
    patch->change =
        (struct labels_change){.origin = &request->origin,
                               .condition = request_condition(request, &patch->condition),
                               .context = patch,
                               .merge = patch_merge};
    return &patch->change;
}
