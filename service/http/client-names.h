/* SPDX-License-Identifier: Apache-2.0
 *
 * The `allowed_clients` of a request.
 */
#ifndef SERVICE_HTTP_CLIENT_NAMES_H
#define SERVICE_HTTP_CLIENT_NAMES_H

#include "service/http/decode.h"
#include "service/http/limits.h"

struct service;

/* The array `json` as JSON text, heap: 1 to ALLOWED_CLIENTS_MAX different names that a client can
 * have. NULL and *problem: WrongType, InvalidValue (also: no client of this daemon proves its
 * name), OutOfResources. */
char *decode_allowed_clients(const struct service *service, const struct cJSON *json,
                             struct problem *problem);

#endif
