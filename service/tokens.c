/* SPDX-License-Identifier: Apache-2.0
 *
 * See tokens.h.
 *
 * The table is sorted by hash and searched for the hash of what a caller sent. The time of the
 * search tells at most how that hash compares with the stored ones, which leads to no secret: it
 * would need a text with a hash of one's choice. What is found is compared in constant time.
 *
 * Invariants:
 *   T1  A change holds `change_lock` over its transaction and its change of the table.
 *   T2  Unless `is_stale`, the table has the tokens of the store: a token is in it only once its
 *       insertion is committed, and no longer once its deletion is. Of those that expired
 *       STORE_TOKEN_DAYS_MAX ago either may have lost some.
 *   T3  A change whose outcome is unknown makes the table stale; a stale table admits nobody before
 *       it was loaded again.
 * T1 and T3 have no assert: a mutex does not know its owner, and any thread may make it stale.
 */
#include "service/tokens.h"

#include "base/cleanup.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/events.h"
#include "service/idempotency.h"
#include "service/labels.h"
#include "service/names.h"
#include "service/unsettled.h"
#include "store/tokens.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SECRET_PREFIX "sgt_"
#define SECRET_BYTES  32
#define HASH_BYTES    32
#define LOAD_ROWS     256

static_assert(sizeof(SECRET_PREFIX) - 1 + (SECRET_BYTES * 4 + 2) / 3 == TOKEN_SECRET_CHARS,
              "a secret");
static_assert(HASH_BYTES * 2 == STORE_HASH_CHARS, "a hash");

struct token_entry {
    unsigned char hash[HASH_BYTES];
    struct token_use use;
    uint64_t expires_at_us; /* UINT64_MAX: never */
};

struct tokens {
    pthread_mutex_t change_lock;            /* taken first; held while the disk is waited for */
    pthread_mutex_t lock;                   /* briefly: every check takes it */
    atomic_bool is_stale;                   /* T3; written under change_lock */
    size_t count;                           /* lock */
    struct token_entry entries[TOKENS_MAX]; /* lock: sorted by hash */
};

/* ---- secrets ---- */

static void secret_new(char secret[TOKEN_SECRET_CHARS + 1])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[SECRET_BYTES + 1] = {0}; /* and the zero bits behind the last one */
    char *to = stpcpy(secret, SECRET_PREFIX);
    while (getrandom(bytes, SECRET_BYTES, 0) != SECRET_BYTES)
        continue; /* a signal, before the kernel has entropy */
    for (size_t bit = 0; bit < SECRET_BYTES * 8; bit += 6) {
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        *to++ = digits[pair >> (10 - bit % 8) & 63];
    }
    *to = '\0';
    assert(to == secret + TOKEN_SECRET_CHARS);
    explicit_bzero(bytes, sizeof(bytes));
}

static int secret_hash(const char *secret, unsigned char hash[HASH_BYTES], struct err *err)
{
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), hash) == 0)
        return 0;
    return err_set(err, ErrInternalError, 0, "SHA-256 is not available");
}

static void hash_format(const unsigned char hash[HASH_BYTES], char text[STORE_HASH_CHARS + 1])
{
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

static int hash_parse(const char *text, unsigned char hash[HASH_BYTES], struct err *err)
{
    bool is_hash =
        strlen(text) == STORE_HASH_CHARS && strspn(text, "0123456789abcdef") == STORE_HASH_CHARS;
    for (size_t i = 0; is_hash && i < HASH_BYTES; i++)
        sscanf(text + 2 * i, "%2hhx", &hash[i]);
    return is_hash ? 0
                   : err_set(err, ErrStoreFailed, 0,
                             "a token in the database has no hash; restore the database from a "
                             "backup");
}

/* ---- the table in memory ---- */

/* The position of the hash, or that where it belongs. */
static size_t table_find_locked(const struct tokens *tokens, const unsigned char hash[HASH_BYTES])
{
    size_t low = 0, high = tokens->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(tokens->entries[middle].hash, hash, HASH_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int table_add_locked(struct tokens *tokens, const struct token_row *row, struct err *err)
{
    struct token_entry entry = {.use.scope = row->scope,
                                .expires_at_us = row->has_expiry ? row->expires_at_us : UINT64_MAX};
    if (hash_parse(row->hash, entry.hash, err) != 0)
        return -1;
    if (tokens->count == TOKENS_MAX)
        return err_set(err, ErrStoreFailed, 0, "the database has more than %d tokens", TOKENS_MAX);
    snprintf(entry.use.id, sizeof(entry.use.id), "%s", row->id);
    snprintf(entry.use.name, sizeof(entry.use.name), "%s", row->name);
    size_t at = table_find_locked(tokens, entry.hash);
    memmove(&tokens->entries[at + 1], &tokens->entries[at],
            (tokens->count - at) * sizeof(tokens->entries[0]));
    tokens->entries[at] = entry;
    tokens->count++;
    return 0;
}

static bool table_has_lost(const struct token_entry *entry, uint64_t now_us)
{
    const uint64_t age_us = (uint64_t)STORE_TOKEN_DAYS_MAX * 24 * 3600 * 1000000;
    return now_us > age_us && entry->expires_at_us < now_us - age_us;
}

/* Removes a token that the store has just deleted; the table is not stale. */
static void table_remove_locked(struct tokens *tokens, const struct token_row *row)
{
    size_t at = 0;
    while (at < tokens->count && strcmp(tokens->entries[at].use.id, row->id) != 0)
        at++;
    assert(at < tokens->count || row->has_expiry); /* T2: only one that expired is lost */
    if (at == tokens->count)
        return;
    tokens->count--;
    memmove(&tokens->entries[at], &tokens->entries[at + 1],
            (tokens->count - at) * sizeof(tokens->entries[0]));
}

/* Makes room of tokens that the store deletes by and by. */
static void table_prune(struct tokens *tokens, uint64_t now_us)
{
    LOCK_GUARD(&tokens->lock);
    size_t kept = 0;
    for (size_t i = 0; i < tokens->count; i++)
        if (!table_has_lost(&tokens->entries[i], now_us))
            tokens->entries[kept++] = tokens->entries[i];
    tokens->count = kept;
}

/* Adds a page of the store's tokens; `after` becomes the last name. */
static int table_load_page_locked(struct tokens *tokens, struct store *store,
                                  char after[TOKEN_NAME_MAX + 1], size_t *count, struct err *err)
{
    struct token_row *rows;
    if (store_token_list(store, after, LOAD_ROWS, &rows, count, err) != 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < *count && result == 0; i++) {
        result = table_add_locked(tokens, &rows[i], err);
        snprintf(after, TOKEN_NAME_MAX + 1, "%s", rows[i].name);
    }
    token_rows_free(rows, *count);
    return result;
}

/* T2 holds again. The caller holds change_lock, or nobody else knows the tokens yet. */
static int table_load(struct tokens *tokens, struct store *store, struct err *err)
{
    char after[TOKEN_NAME_MAX + 1] = "";
    size_t count;
    LOCK_GUARD(&tokens->lock);
    tokens->count = 0;
    do
        if (table_load_page_locked(tokens, store, after, &count, err) != 0)
            return -1;
    while (count == LOAD_ROWS);
    atomic_store(&tokens->is_stale, false);
    return 0;
}

/* Loads a stale table; waits for the store. */
static int table_refresh(struct service *service, struct err *err)
{
    struct tokens *tokens = service->tokens;
    if (!atomic_load(&tokens->is_stale))
        return 0;
    if (unsettled_resolve(service, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->change_lock);
    return atomic_load(&tokens->is_stale) ? table_load(tokens, service->store, err) : 0;
}

struct tokens *tokens_new(struct service *service, struct err *err)
{
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    if (!tokens) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for the tokens");
        return NULL;
    }
    pthread_mutex_init(&tokens->change_lock, NULL);
    pthread_mutex_init(&tokens->lock, NULL);
    if (table_load(tokens, service->store, err) == 0)
        return tokens;
    tokens_free(tokens);
    return NULL;
}

void tokens_free(struct tokens *tokens)
{
    pthread_mutex_destroy(&tokens->change_lock);
    pthread_mutex_destroy(&tokens->lock);
    free(tokens);
}

/* ---- use ---- */

int tokens_check(struct service *service, const char *secret, struct token_use *use,
                 struct err *err)
{
    struct tokens *tokens = service->tokens;
    unsigned char hash[HASH_BYTES];
    if (table_refresh(service, err) != 0 || secret_hash(secret, hash, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->lock);
    size_t at = table_find_locked(tokens, hash);
    const struct token_entry *entry = &tokens->entries[at];
    if (at == tokens->count || gnutls_memcmp(entry->hash, hash, HASH_BYTES) != 0)
        return err_set(err, ErrUnauthorized, 0, "there is no such token, or it was revoked");
    if (entry->expires_at_us <= clock_now_us())
        return err_set(err, ErrUnauthorized, 0, "token '%s' has expired; ask for a new one",
                       entry->use.name);
    *use = entry->use;
    return 0;
}

/* ---- changes ---- */

static int expiry_read(struct token_request *request, const char *text, struct err *err)
{
    request->has_expiry = text != NULL;
    if (!text)
        return 0;
    if (clock_parse(text, &request->expires_at_us) != 0)
        return err_set(err, ErrInvalidValue, 0,
                       "'expires_at' must be a time such as 2027-01-31T12:00:00Z");
    if (request->expires_at_us <= clock_now_us())
        return err_set(err, ErrInvalidValue, 0, "'expires_at' must be a time to come");
    return 0;
}

int token_request_read(struct token_request *request, const char *name, const char *scope,
                       const char *expires_at, const char **field, struct err *err)
{
    *request = (struct token_request){.name = name, .scope = scope_from_name(scope)};
    *field = "name";
    if (!name_is_valid(name, TOKEN_NAME_MAX) || id_is_valid(name))
        return err_set(err, ErrInvalidValue, 0,
                       "a token's name has 1 to %d of the characters A-Z a-z 0-9 . _ -, begins "
                       "with a letter or digit, and is no UUID",
                       TOKEN_NAME_MAX);
    *field = "scope";
    if (request->scope == SCOPE_NONE)
        return err_set(err, ErrInvalidValue, 0, "'scope' must be read, snapshot or admin");
    *field = "expires_at";
    return expiry_read(request, expires_at, err);
}

/* Names and scopes need no escaping. */
static int event_insert(struct store_transaction *transaction, const struct origin *origin,
                        enum event_kind kind, const struct token_row *row, struct err *err)
{
    char detail[256], expiry[CLOCK_TEXT_BYTES];
    if (row->has_expiry)
        clock_format(row->expires_at_us, expiry);
    snprintf(detail, sizeof(detail),
             "{\"id\":\"%s\",\"name\":\"%s\",\"scope\":\"%s\",\"expires_at\":%s%s%s}", row->id,
             row->name, scope_name(row->scope), row->has_expiry ? "\"" : "",
             row->has_expiry ? expiry : "null", row->has_expiry ? "\"" : "");
    return event_record_detail(transaction, origin, kind, detail, err);
}

/* Commits a change of the row, with its event; a failure that leaves the outcome unknown makes the
 * table stale. */
static int row_change(struct service *service, const struct origin *origin, enum event_kind kind,
                      const struct token_row *row, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (transaction &&
        (kind == EVENT_TOKEN_CREATED ? store_token_insert(transaction, row, err)
                                     : store_token_delete(transaction, row, err)) == 0 &&
        event_insert(transaction, origin, kind, row, err) == 0 &&
        (kind != EVENT_TOKEN_CREATED ||
         key_record(transaction, origin, "token", row->id, err) == 0) &&
        store_commit(steal(transaction), err) == 0)
        return 0;
    if (store_is_failed(service->store))
        atomic_store(&service->tokens->is_stale, true); /* T3 */
    return -1;
}

static int row_fill(struct token_row *row, const struct token_request *request, const char *secret,
                    struct err *err)
{
    unsigned char hash[HASH_BYTES];
    if (secret_hash(secret, hash, err) != 0)
        return -1;
    *row = (struct token_row){.name = strdup(request->name),
                              .scope = request->scope,
                              .hash = malloc(STORE_HASH_CHARS + 1),
                              .created_at_us = clock_now_us(),
                              .has_expiry = request->has_expiry,
                              .expires_at_us = request->expires_at_us};
    id_new(row->id);
    if (!row->name || !row->hash)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a token");
    hash_format(hash, row->hash);
    return 0;
}

int tokens_create(struct service *service, const struct origin *origin,
                  const struct token_request *request, struct token_row *row,
                  char secret[TOKEN_SECRET_CHARS + 1], struct err *err)
{
    struct tokens *tokens = service->tokens;
    assert(request->scope != SCOPE_NONE);
    secret_new(secret);
    if (row_fill(row, request, secret, err) != 0 || table_refresh(service, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->change_lock);
    table_prune(tokens, row->created_at_us);
    if (tokens->count >= TOKENS_MAX) /* nobody else changes it now: T1 */
        return err_set(err, ErrTooManyTokens, 0,
                       "there are %d tokens already; delete those that have expired", TOKENS_MAX);
    if (row_change(service, origin, EVENT_TOKEN_CREATED, row, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->lock);
    return table_add_locked(tokens, row, err);
}

int tokens_delete(struct service *service, const struct origin *origin, const char *id_or_name,
                  const struct condition *condition, struct err *err)
{
    struct tokens *tokens = service->tokens;
    CLEANUP_BY(token_row_clear) struct token_row row = {0};
    if (table_refresh(service, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->change_lock);
    if (tokens_get(service, id_or_name, &row, err) != 0 ||
        condition_check(condition, row.id, STORE_REVISION_FIRST, err) != 0 ||
        row_change(service, origin, EVENT_TOKEN_REVOKED, &row, err) != 0)
        return -1;
    LOCK_GUARD(&tokens->lock);
    if (!atomic_load(&tokens->is_stale))
        table_remove_locked(tokens, &row);
    return 0;
}

int tokens_get(struct service *service, const char *id_or_name, struct token_row *row,
               struct err *err)
{
    char normal[GROUP_NAME_MAX + 1];
    id_or_name_normal(id_or_name, normal);
    return store_token_get(service->store, normal, row, err);
}

int tokens_list(struct service *service, const char *after, size_t limit, struct token_row **rows,
                size_t *count, bool *more, struct err *err)
{
    if (store_token_list(service->store, after, limit + 1, rows, count, err) != 0)
        return -1;
    *more = *count > limit;
    if (*more)
        token_row_clear(&(*rows)[--*count]);
    return 0;
}
