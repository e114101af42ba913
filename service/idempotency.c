/* SPDX-License-Identifier: Apache-2.0
 *
 * See idempotency.h.
 */
#include "service/idempotency.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/context.h"
#include "store/idempotency.h"

#include <assert.h>
#include <string.h>

/* ---- the header ---- */

static int key_is_malformed(struct err *err)
{
    return err_set(err, ErrInvalidHeader, 0,
                   "Idempotency-Key must be one quoted string or token of 1 to %d visible ASCII "
                   "characters or blanks, such as a new UUID for each request",
                   KEY_CHARS_MAX);
}

/* Copies the inside of a quoted string, which `from` is in. */
static int key_unquote(const char *from, char *key, struct err *err)
{
    size_t length = 0;
    for (; *from && *from != '"'; from++) {
        if (*from == '\\' && *++from != '"' && *from != '\\')
            return key_is_malformed(err);
        if (*from < ' ' || *from > '~' || length == KEY_CHARS_MAX)
            return key_is_malformed(err);
        key[length++] = *from;
    }
    key[length] = '\0';
    return length > 0 && strcmp(from, "\"") == 0 ? 0 : key_is_malformed(err);
}

int key_parse(const char *value, char key[KEY_CHARS_MAX + 1], struct err *err)
{
    static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789!#$%&'*+-.^_`|~:/=";
    if (*value == '"')
        return key_unquote(value + 1, key, err);
    size_t length = strspn(value, token);
    if (length == 0 || length > KEY_CHARS_MAX || value[length])
        return key_is_malformed(err);
    memcpy(key, value, length + 1);
    return 0;
}

/* ---- claims ---- */

static bool claim_is(const struct key_claim *claim, const struct key_claim *other)
{
    return strcmp(claim->origin->key, other->origin->key) == 0 &&
           strcmp(claim->origin->actor, other->origin->actor) == 0;
}

static int key_is_reused(const char *key, struct err *err)
{
    return err_set(err, ErrIdempotencyKeyReused, 0,
                   "the key '%s' came with another request before; use a new one for each request",
                   key);
}

/* Enters the claim, unless another request runs with its key. */
static int claim_enter(struct service *service, struct key_claim *claim, struct err *err)
{
    LOCK_GUARD(&service->keys_lock);
    for (const struct key_claim *other = service->keys; other; other = other->next) {
        if (!claim_is(claim, other))
            continue;
        if (strcmp(claim->origin->request_hash, other->origin->request_hash) != 0)
            return key_is_reused(claim->origin->key, err);
        return err_set(err, ErrIdempotencyInProgress, 0,
                       "the request with the key '%s' is running; try again for its answer",
                       claim->origin->key);
    }
    assert(!claim->service);
    claim->service = service;
    claim->next = service->keys;
    service->keys = claim;
    return 0;
}

void key_claim_end(struct key_claim *claim)
{
    if (!claim->service)
        return;
    LOCK_GUARD(&claim->service->keys_lock);
    struct key_claim **link = &claim->service->keys;
    while (*link != claim)
        link = &(*link)->next;
    *link = claim->next;
    claim->service = NULL;
}

int key_claim_begin(struct service *service, struct key_claim *claim, const struct origin *origin,
                    enum key_state *state, struct key_row *row, struct err *err)
{
    claim->origin = origin;
    if (claim_enter(service, claim, err) != 0)
        return -1;
    int found = store_key_get(service->store, origin->actor, origin->key, clock_now_us(), row, err);
    if (found > 0 && strcmp(row->request_hash, origin->request_hash) != 0)
        found = key_is_reused(claim->origin->key, err);
    if (found < 0) {
        key_row_clear(row);
        key_claim_end(claim);
        return -1;
    }
    *state = found == 0 ? KEY_RUN : row->has_answer ? KEY_ANSWERED : KEY_MADE;
    return 0;
}

/* ---- rows ---- */

static struct key_row key_row(const struct origin *origin)
{
    return (struct key_row){
        .caller = (char *)origin->actor,
        .key = (char *)origin->key,
        .request_hash = (char *)origin->request_hash,
        .request_id = (char *)origin->request_id,
        .created_at_us = clock_now_us(),
    };
}

int key_record(struct store_transaction *transaction, const struct origin *origin, const char *kind,
               const char *id, struct err *err)
{
    if (!*origin->key)
        return 0;
    struct key_row row = key_row(origin);
    row.resource_kind = (char *)kind;
    row.resource_id = (char *)id;
    return store_key_insert(transaction, &row, err);
}

void key_claim_answer(const struct key_claim *claim, const struct key_row *made, int status,
                      const char *headers, const char *body)
{
    struct err err;
    struct key_row row = made ? *made : key_row(claim->origin);
    if (body && strlen(body) > KEY_ANSWER_MAX_BYTES)
        return;
    row.has_answer = true;
    row.status = (uint64_t)status;
    row.headers = (char *)headers;
    row.body = (char *)body;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(claim->service->store, &err);
    row.created_at_us = clock_now_us(); /* if it is inserted: in the order of commits */
    if (!transaction || store_key_answer(transaction, &row, &err) != 0 ||
        store_commit(steal(transaction), &err) != 0)
        log_warning("the answer to key '%s' is not kept: %s", row.key, err.message);
}
