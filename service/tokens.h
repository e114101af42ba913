/* SPDX-License-Identifier: Apache-2.0
 *
 * Bearer tokens: who has the secret may call, up to the token's scope, until it is deleted or
 * expires.
 *
 *     secret   "sgt_" and 43 characters of base64url: 256 bits of getrandom(2)
 *     stored   SHA-256 of that text. It needs no salt and no slow hash: nobody guesses 256 bits
 *
 * Each request is checked against a table in memory, so a deletion holds for the next request of
 * every connection, and no check waits for the disk. Any thread.
 */
#ifndef SERVICE_TOKENS_H
#define SERVICE_TOKENS_H

#include "base/err.h"
#include "service/limits.h"
#include "store/row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct condition;
struct service;
struct origin;
struct tokens;

#define TOKEN_SECRET_CHARS 47

/* The token that a caller has shown. */
struct token_use {
    char id[STORE_ID_CHARS + 1];
    char name[TOKEN_NAME_MAX + 1];
    enum scope scope;
};

struct token_request {
    const char *name; /* name_is_valid(), unique among tokens, and no UUID */
    enum scope scope;
    bool has_expiry;
    uint64_t expires_at_us;
};

/* Reads what somebody wants; `expires_at` may be NULL, and the name is borrowed. InvalidValue, with
 * the field that is wrong: "name", "scope" or "expires_at". */
int token_request_read(struct token_request *request, const char *name, const char *scope,
                       const char *expires_at, const char **field, struct err *err);

/* Loads the table from service->store. NULL: StoreFailed, OutOfResources. */
struct tokens *tokens_new(struct service *service, struct err *err);
void tokens_free(struct tokens *tokens);

/* The token of that secret. Unauthorized: there is none, or it has expired; StoreFailed: a change
 * of the tokens failed, and whether it was made is still unknown. */
int tokens_check(struct service *service, const char *secret, struct token_use *use,
                 struct err *err);

/* Makes a token. `row` is to be cleared in every case. TokenExists, TooManyTokens, StoreFailed
 * (then there may be a token whose secret nobody knows). */
int tokens_create(struct service *service, const struct origin *origin,
                  const struct token_request *request, struct token_row *row,
                  char secret[TOKEN_SECRET_CHARS + 1], struct err *err);

/* Deletes the token with that id or name: when it returns 0, no request is served with it any more.
 * TokenNotFound, PreconditionFailed, StoreFailed. */
int tokens_delete(struct service *service, const struct origin *origin, const char *id_or_name,
                  const struct condition *condition, struct err *err);

/* By id or name. TokenNotFound. */
int tokens_get(struct service *service, const char *id_or_name, struct token_row *row,
               struct err *err);

/* As store_token_list(); *more: there are others behind them. */
int tokens_list(struct service *service, const char *after, size_t limit, struct token_row **rows,
                size_t *count, bool *more, struct err *err);

#endif
