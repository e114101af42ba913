/* SPDX-License-Identifier: Apache-2.0
 *
 * Idempotency keys: a request that is sent again with the same key is not carried out again.
 *
 *                    no other request    the row that it makes     the reply
 *   key_claim_begin ----------------> RUN --key_record--> made --key_claim_answer--> answered
 *        |                             +--------------key_claim_answer-----------------^
 *        +--(an earlier request made a row; its answer is not known)--> MADE
 *        +--> ANSWERED
 *
 * The key is recorded in the transaction that inserts the row, so a daemon that is killed at any
 * moment leaves a row with its key or neither. The answer follows in a transaction of its own.
 * Until it is there, it is built from the row (MADE), which recovery has settled. An attempt that
 * failed for a reason that may pass is not answered for good: its row, if any, says so, and the
 * next request with the key runs.
 *
 * Keys belong to their caller. While a request runs, its claim is in memory, and others with that
 * key are refused. Any thread.
 */
#ifndef SERVICE_IDEMPOTENCY_H
#define SERVICE_IDEMPOTENCY_H

#include "base/err.h"
#include "service/events.h"
#include "service/limits.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>

/* A larger answer is not stored but built from its row each time. */
#define KEY_ANSWER_MAX_BYTES 65536

struct service;

/* Zeroed: none. In the request's own frame. */
struct key_claim {
    struct key_claim *next;      /* keys_lock */
    struct service *service;     /* NULL: not claimed */
    const struct origin *origin; /* of the request */
};

enum key_state {
    KEY_RUN,
    KEY_MADE,
    KEY_ANSWERED,
};

/* Takes the value of a header Idempotency-Key: a quoted string (RFC 8941) or a bare token of up to
 * KEY_CHARS_MAX characters. InvalidHeader. */
int key_parse(const char *value, char key[KEY_CHARS_MAX + 1], struct err *err);

/* Claims origin->key for the origin's request. *row: the key's earlier request, but for KEY_RUN; to
 * be cleared. IdempotencyKeyReused, IdempotencyInProgress, or the errors of the store: -1, and
 * nothing is claimed. */
int key_claim_begin(struct service *service, struct key_claim *claim, const struct origin *origin,
                    enum key_state *state, struct key_row *row, struct err *err);

/* Records the answer of the claim's request, or of the one of `row` (KEY_MADE). `body` may be NULL.
 * Failures are logged: the answer can be built again. */
void key_claim_answer(const struct key_claim *claim, const struct key_row *row, int status,
                      const char *headers, const char *body);

void key_claim_end(struct key_claim *claim);

/* Records that the origin's request makes that row, in the transaction of its insert; nothing if it
 * has no key. `kind`: "device", "group", "token", "job". */
int key_record(struct store_transaction *transaction, const struct origin *origin, const char *kind,
               const char *id, struct err *err);

#endif
