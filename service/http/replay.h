/* SPDX-License-Identifier: Apache-2.0
 *
 * The step between a request and its handler that answers a repeated Idempotency-Key
 * (service/idempotency.h) from the store.
 */
#ifndef SERVICE_HTTP_REPLAY_H
#define SERVICE_HTTP_REPLAY_H

#include "service/idempotency.h"

#include <stdbool.h>
#include <stddef.h>

struct reply;
struct request;
struct service;

/* Notes in request->origin what the request is: a hash of method, path, query and body. */
void replay_identify(struct request *request, const char *body, size_t body_bytes);

/* Claims the request's key, if it has one. False: the reply is there, and no handler is to run. */
bool replay_begin(struct service *service, struct request *request, struct key_claim *claim,
                  struct reply *reply);

/* Keeps the handler's reply if it is final. */
void replay_end(struct key_claim *claim, const struct reply *reply);

#endif
