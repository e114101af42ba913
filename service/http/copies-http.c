/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /snapshot-groups/{id}/copies: decodes the request, calls copies.c, encodes the job.
 */
#include "service/copies.h"
#include "service/http/encode.h"
#include "service/http/job-encode.h"
#include "service/http/routes.h"

#include <stddef.h>
#include <stdlib.h>

struct copy_body {
    const char *device, *image, *format;
};

static const struct decode_field copy_fields[] = {
    {"device", DECODE_TEXT, true, offsetof(struct copy_body, device), DEVICE_NAME_MAX},
    {"image", DECODE_TEXT, true, offsetof(struct copy_body, image), PATH_BYTES_MAX},
    {"format", DECODE_TEXT, true, offsetof(struct copy_body, format), DECODE_FORMAT_MAX_BYTES},
};
const struct decode_table copy_create_body = DECODE_TABLE(struct copy_body, copy_fields, true);

static void reply_refusal(struct reply *reply, const struct copy_body *body, enum copy_part part,
                          struct problem *problem)
{
    if (part != COPY_PART_GROUP)
        problem->device = body->device;
    if (part == COPY_PART_DEVICE)
        problem_point(problem, "/device");
    else if (problem->err.code == ErrInvalidBlockFormat)
        problem_point(problem, "/format");
    else if (part == COPY_PART_IMAGE)
        problem_point(problem, "/image");
    reply_problem(reply, problem);
}

static void reply_copy_plan(struct service *service, const struct copy_request *wanted,
                            const struct copy_body *body, struct reply *reply)
{
    enum copy_part part;
    struct problem problem = {0};
    struct copy_plan plan;
    int ret = copies_plan(service, wanted, &plan, &part, &problem.err);
    if (ret == 0) {
        struct cJSON *json = cJSON_CreateObject();
        encode_text(json, "image", plan.image);
        encode_number(json, "copy_bytes", plan.copy_bytes);
        encode_number(json, "free_bytes", plan.free_bytes);
        reply_json(reply, 200, json);
    }
    free(plan.image);
    if (ret != 0)
        reply_refusal(reply, body, part, &problem);
}

void copy_create(struct service *service, const struct request *request, struct reply *reply)
{
    enum copy_part part;
    bool is_dry_run;
    struct problem problem = {0};
    const struct copy_body *body = request->fields;
    const struct copy_request wanted = {.group = request->argument,
                                        .device = body->device,
                                        .image = body->image,
                                        .format = body->format,
                                        .origin = &request->origin};
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    if (request_flag(request, "dry_run", &is_dry_run, &problem.err) != 0)
        reply_problem(reply, &problem);
    else if (is_dry_run)
        reply_copy_plan(service, &wanted, body, reply);
    else if (copies_begin(service, &wanted, &job, &part, &problem.err) != 0)
        reply_refusal(reply, body, part, &problem);
    else
        reply_made(reply, 202, "/jobs", job.id, job_encode(&job));
}
