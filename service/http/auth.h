/* SPDX-License-Identifier: Apache-2.0
 *
 * Who calls, and whether they may.
 *
 *   kind                      known by           scope
 *   PRINCIPAL_UNIX            peer credentials   admin: root and the daemon's own user; that of its
 *                                                groups: a member of one that is allowed
 *   PRINCIPAL_UNIX_FORBIDDEN  peer credentials   none: other users
 *   PRINCIPAL_TCP             peer address       none; over TLS, that of the client's certificate
 *
 * A request with a bearer token (tokens.h) has the token's scope instead, on every kind of socket:
 * a proxy that calls as root and passes its clients' tokens on does not lend them its own rights.
 * A principal is of a connection; the token is of one request, and checked for each.
 *
 * Operations of SCOPE_NONE look at no token. Over TCP they are open to everybody.
 *
 * A certificate that TLS has verified has a scope if one of its names is mapped to one
 * (--tls-client-scope), else none; the highest counts.
 *
 * Against web pages: without TLS the Host header must name a loopback address (the name of a page's
 * own host does not, even if it resolves to one). With TLS it may name any host: a browser checks
 * that the certificate is that host's, so a page whose name resolves to us gets no connection. A
 * POST needs a content type that browsers do not send across sites unasked.
 */
#ifndef SERVICE_HTTP_AUTH_H
#define SERVICE_HTTP_AUTH_H

#include "base/err.h"
#include "base/tls/peer.h"
#include "service/option-value.h"
#include "service/tokens.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

struct http_head;
struct service;

enum principal_kind {
    PRINCIPAL_UNIX,
    PRINCIPAL_UNIX_FORBIDDEN,
    PRINCIPAL_TCP,
    PRINCIPAL_KIND_COUNT,
};

struct principal {
    enum principal_kind kind;
    uid_t uid; /* Unix; (uid_t)-1 if unknown */
    gid_t gid;
    struct in6_addr address; /* TCP; IPv4 is mapped (::ffff:0:0/96) */
    bool has_tls;
    char certificate[TLS_NAME_BYTES]; /* the name that has the scope, else its first; "": none */
    enum scope scope;                 /* without a token */
    struct token_use token;           /* of the request; its id is "": none */
};

/* What the principal may do. */
enum scope principal_scope(const struct principal *principal);

/* Fills *principal for the connected socket `fd`; `groups`: who else may call over Unix sockets. */
void principal_init(struct principal *principal, int fd, bool is_unix,
                    const struct option_groups *groups);

/* The client at the other end has shaken hands, and its certificate has these names. `scopes`:
 * "NAME=SCOPE", checked. */
void principal_identify(struct principal *principal, const struct tls_names *names,
                        const struct option_addresses *scopes);

/* Whether both are the same user, or the same address. */
bool principal_is(const struct principal *principal, const struct principal *other);

/* "token NAME ID", "certificate NAME", "uid 0" or "127.0.0.1": who it is, for the log, for events
 * and for what belongs to a caller. No two principals with a scope share a text. */
#define PRINCIPAL_TEXT_BYTES (TLS_NAME_BYTES + 12)
_Static_assert(PRINCIPAL_TEXT_BYTES >= TOKEN_NAME_MAX + STORE_ID_CHARS + 12, "a token's text fits");
void principal_format(const struct principal *principal, char text[PRINCIPAL_TEXT_BYTES]);

/* Whether the principal may send a request with this head at all. Forbidden. */
int auth_check(const struct principal *principal, const struct http_head *head, struct err *err);

/* Whether the request may do what needs the scope; fills principal->token if it has one. Forbidden
 * (a page of another site), Unauthorized, InsufficientScope, and the errors of tokens_check(). */
int auth_authorize(struct principal *principal, struct service *service,
                   const struct http_head *head, enum scope needed, struct err *err);

/* Writes the field WWW-Authenticate of a refusal by auth_authorize() (RFC 6750, section 3). */
#define AUTH_CHALLENGE_BYTES 96
void auth_challenge(const struct http_head *head, const struct err *err, enum scope needed,
                    char text[AUTH_CHALLENGE_BYTES]);

#endif
