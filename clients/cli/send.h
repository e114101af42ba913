/* SPDX-License-Identifier: Apache-2.0
 *
 * A request that is sent until there is a reply that counts.
 *
 * It is sent again, with the same Idempotency-Key, if nobody took it or its connection was lost,
 * and if the problem is `retryable`; after Retry-After, or after a pause that doubles. This ends at
 * --timeout, without one after SEND_RETRY_MS. A conflict (409) that may pass is tried again only
 * with --timeout: who has not said how long to wait is told at once.
 *
 * What a lost request has done already is no failure of the next one: a 404 of a DELETE, and a 409
 * whose `existing` was made by the same request, which is then got.
 */
#ifndef CLI_SEND_H
#define CLI_SEND_H

#include "clients/cli/client.h"

#include <cjson/cJSON.h>

#define SEND_RETRY_MS 5000

/* On success the status is from 200 to 399. Otherwise the failure has the daemon's problem. */
int client_send(struct call *call, const struct request *request, struct reply *reply);

/* The same, of a GET, and parsed: the caller deletes `*json`, unless that is NULL. */
int client_get(struct call *call, const char *path, struct reply *reply, cJSON **json);

/* A new Idempotency-Key, or that of --idempotency-key. EXIT_USAGE. */
#define SEND_KEY_BYTES 129
int send_key(struct call *call, char key[SEND_KEY_BYTES]);

CLEANUP_DEFINE(json, cJSON *, cJSON_Delete)
#define CLEANUP_JSON CLEANUP(json)

#endif
