/* SPDX-License-Identifier: Apache-2.0
 *
 * See job-encode.h.
 */
#include "service/http/job-encode.h"

#include "base/cleanup.h"
#include "service/copies.h"
#include "service/http/encode.h"
#include "service/http/reply.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static void encode_merges(cJSON *json, const struct job_row *row)
{
    cJSON *merges = encode_array(json, "merges");
    for (size_t i = 0; i < row->merge_count; i++) {
        const struct merge_row *merge = &row->merges[i];
        cJSON *item = encode_item(merges);
        encode_text(item, "device", merge->device);
        encode_text(item, "base", merge->base);
        encode_text(item, "upper", merge->upper);
        encode_text(item, "stage", merge_stage_name(merge->stage));
    }
}

static void encode_error(cJSON *json, const struct job_row *row)
{
    if (!row->has_error) {
        encode_null(json, "error");
        return;
    }
    char instance[sizeof("/jobs/") + STORE_ID_CHARS];
    snprintf(instance, sizeof(instance), "/jobs/%s", row->id);
    struct problem problem = {.err = {.code = row->error_code, .errnum = row->error_errnum},
                              .instance = instance};
    snprintf(problem.err.message, sizeof(problem.err.message), "%s",
             row->error_message ? row->error_message : "");
    cJSON_AddItemToObject(json, "error", problem_encode(&problem));
}

/* What a copy makes; null of another job. */
static void encode_image(cJSON *json, const struct job_row *row)
{
    struct err err;
    CLEANUP_FREE char *image = NULL, *format = NULL;
    if (row->kind == JOB_COPY && copies_spec(row, &image, &format, &err) != 0)
        return; /* without memory, as encode.h says */
    encode_text(json, "image", image);
    encode_text(json, "format", format);
}

struct cJSON *job_encode(const struct job_row *row)
{
    cJSON *json = cJSON_CreateObject();
    encode_text(json, "id", row->id);
    encode_text(json, "kind", job_kind_name(row->kind));
    encode_text(json, "state", job_state_name(row->state));
    encode_text(json, "group", row->group_id);
    encode_text(json, "device", row->device);
    encode_image(json, row);
    cJSON *progress = encode_object(json, "progress");
    encode_number(progress, "done_bytes", row->done_bytes);
    encode_number(progress, "total_bytes", row->total_bytes);
    encode_number(json, "rate_bytes_per_second", row->rate_bytes_per_second);
    encode_time(json, "created_at", row->created_at_us);
    if (row->has_finished)
        encode_time(json, "finished_at", row->finished_at_us);
    else
        encode_null(json, "finished_at");
    encode_merges(json, row);
    encode_json(json, "kept", row->kept);
    encode_error(json, row);
    return json;
}
