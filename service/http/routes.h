/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request to its handler. A handler is named as its operation is in api/openapi.yaml
 * (operationId) and lives in the file of its endpoint group, ENDPOINTS-http.c. Handlers run on any
 * number of threads at once, may block, and must leave a complete reply.
 */
#ifndef SERVICE_HTTP_ROUTES_H
#define SERVICE_HTTP_ROUTES_H

#include "service/http/reply.h"
#include "service/http/request.h"

struct service;

/* Answers the request; problems found before a handler is reached are answered too. */
void routes_dispatch(struct service *service, struct request *request, struct reply *reply);

/* devices-http.c */
void device_list(struct service *service, const struct request *request, struct reply *reply);
void device_create(struct service *service, const struct request *request, struct reply *reply);
void device_get(struct service *service, const struct request *request, struct reply *reply);
void device_delete(struct service *service, const struct request *request, struct reply *reply);

/* snapshot-groups-http.c */
void snapshot_group_list(struct service *service, const struct request *request,
                         struct reply *reply);
void snapshot_group_create(struct service *service, const struct request *request,
                           struct reply *reply);
void snapshot_group_get(struct service *service, const struct request *request,
                        struct reply *reply);

/* health-http.c */
void livez_get(struct service *service, const struct request *request, struct reply *reply);
void readyz_get(struct service *service, const struct request *request, struct reply *reply);
void openapi_get(struct service *service, const struct request *request, struct reply *reply);

#endif
