/* SPDX-License-Identifier: Apache-2.0
 *
 * See replay.h. Final replies are successes and refusals that the same request would always get;
 * others (5xx, and those that are retryable) are not kept, so that a retry runs. A success that is
 * interim (202 of a cut) is not kept either, and built from the row as that is at the retry.
 */
#include "service/http/replay.h"

#include "base/cleanup.h"
#include "service/http/rebuild.h"
#include "service/http/reply.h"
#include "service/http/request.h"
#include "store/idempotency.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- what a request is ---- */

/* FNV-1a with 128 bits: it tells a caller's own requests apart, so nobody gains by a collision. */
static void hash_add(unsigned __int128 *hash, const char *bytes, size_t count)
{
    const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
    for (size_t i = 0; i < count; i++)
        *hash = (*hash ^ (unsigned char)bytes[i]) * prime;
}

/* With its zero, so that no two lists of texts look alike. */
static void hash_add_text(unsigned __int128 *hash, const char *text)
{
    hash_add(hash, text, strlen(text) + 1);
}

void replay_identify(struct request *request, const char *body, size_t body_bytes)
{
    unsigned __int128 hash = ((unsigned __int128)0x6c62272e07bb0142 << 64) | 0x62b821756295c58d;
    struct origin *origin = &request->origin;
    hash_add_text(&hash, request->method);
    for (size_t i = 0; i < request->segment_count; i++)
        hash_add_text(&hash, request->segments[i]);
    hash_add_text(&hash, "?");
    for (size_t i = 0; i < request->parameter_count; i++) {
        hash_add_text(&hash, request->parameters[i].name);
        hash_add_text(&hash, request->parameters[i].value);
    }
    hash_add(&hash, body, body_bytes);
    snprintf(origin->request_hash, sizeof(origin->request_hash), "%016" PRIx64 "%016" PRIx64,
             (uint64_t)(hash >> 64), (uint64_t)hash);
}

/* ---- replies ---- */

static bool reply_is_final(const struct reply *reply)
{
    return reply->status < 500 && !reply->is_retryable;
}

/* The reply's header, as it is kept. */
static void reply_keep(const struct key_claim *claim, const struct key_row *made,
                       const struct reply *reply)
{
    const char *body = reply->has_secret ? reply->kept_body : reply->body;
    if (reply_is_final(reply) && !reply->is_interim && (body || reply->body_bytes == 0))
        key_claim_answer(claim, made, reply->status, reply->header, body);
}

static void reply_repeat(struct reply *reply, struct key_row *row)
{
    reply_clear(reply);
    reply->status = (int)row->status;
    reply->body_bytes = row->body ? strlen(row->body) : 0;
    reply->body = steal(row->body);
    reply->header_bytes = (size_t)snprintf(reply->header, sizeof(reply->header), "%s",
                                           row->headers ? row->headers : "");
    assert(reply->header_bytes < sizeof(reply->header));
}

/* Builds the answer from the row that the key's request made. False: nothing was made, or it was
 * undone, for a reason that may pass. */
static bool reply_rebuild(struct service *service, const struct request *request,
                          const struct key_claim *claim, const struct key_row *row,
                          struct reply *reply)
{
    enum rebuilt rebuilt =
        rebuild_answer(service, request, row->resource_kind, row->resource_id, reply);
    if (rebuilt == REBUILT_ANSWER)
        reply_keep(claim, row, reply);
    return rebuilt == REBUILT_PENDING || (rebuilt == REBUILT_ANSWER && reply_is_final(reply));
}

/* ---- the step ---- */

static int request_key(const struct request *request, char key[KEY_CHARS_MAX + 1], struct err *err)
{
    const char *value = request_header(request, "Idempotency-Key", 0);
    if (request_header(request, "Idempotency-Key", 1))
        return err_set(err, ErrInvalidHeader, 0, "Idempotency-Key may be given once only");
    return value ? key_parse(value, key, err) : 0;
}

bool replay_begin(struct service *service, struct request *request, struct key_claim *claim,
                  struct reply *reply)
{
    struct err err;
    enum key_state state;
    CLEANUP_BY(key_row_clear) struct key_row row = {0};
    char *key = request->origin.key;
    static_assert(sizeof(request->origin.key) > KEY_CHARS_MAX, "room for a key");
    if (request_key(request, key, &err) != 0 ||
        (*key && key_claim_begin(service, claim, &request->origin, &state, &row, &err) != 0)) {
        reply_error(reply, &err);
        return false;
    }
    if (!*key)
        return true;
    if (state == KEY_ANSWERED)
        reply_repeat(reply, &row);
    else if (state == KEY_RUN || !reply_rebuild(service, request, claim, &row, reply)) {
        reply_clear(reply);
        return true;
    }
    if (reply_is_final(reply))
        reply_header_add(reply, "Idempotency-Replayed", "true");
    key_claim_end(claim);
    return false;
}

void replay_end(struct key_claim *claim, const struct reply *reply)
{
    if (claim->service)
        reply_keep(claim, NULL, reply);
    key_claim_end(claim);
}
