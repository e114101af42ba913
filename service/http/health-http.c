/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /livez, /readyz, /openapi.yaml: for probes, and the contract itself.
 */
#include "service/http/routes.h"

#include "service/admission.h"
#include "service/http/condition.h"
#include "service/http/encode.h"

extern const char openapi_yaml[]; /* api/openapi.yaml, embedded by CMake */
extern const size_t openapi_yaml_bytes;

static void reply_status_text(struct reply *reply, const char *status)
{
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "status", status);
    reply_json(reply, 200, json);
}

void livez_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    (void)request;
    reply_status_text(reply, "live");
}

void readyz_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)request;
    struct err err;
    if (service_probe_ready(service, &err) == 0)
        reply_status_text(reply, "ready");
    else
        reply_error(reply, &err);
}

void openapi_get(struct service *service, const struct request *request, struct reply *reply)
{
    (void)service;
    (void)request;
    reply_static(reply, "application/yaml", openapi_yaml, openapi_yaml_bytes);
    reply_tag(reply);
}
