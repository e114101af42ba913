/* SPDX-License-Identifier: Apache-2.0
 *
 * Who calls, and whether they may.
 *
 *   kind                      known by           who may call
 *   PRINCIPAL_UNIX            peer credentials   root and the daemon's own user
 *   PRINCIPAL_UNIX_FORBIDDEN  peer credentials   (no other user)
 *   PRINCIPAL_TCP             peer address       anyone on this host, but no web page in a browser
 *
 * Against web pages: the Host header must name a loopback address (the name of a page's own host
 * does not, even if it resolves to one), and a POST needs a content type that browsers do not send
 * across sites unasked.
 */
#ifndef SERVICE_HTTP_AUTH_H
#define SERVICE_HTTP_AUTH_H

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

struct http_head;

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
};

/* Fills *principal for the connected socket `fd`. */
void principal_init(struct principal *principal, int fd, bool is_unix);

/* Whether both are the same user, or the same address. */
bool principal_is(const struct principal *principal, const struct principal *other);

/* "uid 0" or "127.0.0.1" */
#define PRINCIPAL_TEXT_BYTES (INET6_ADDRSTRLEN + 8)
void principal_format(const struct principal *principal, char text[PRINCIPAL_TEXT_BYTES]);

/* Whether the principal may send a request with this head. Forbidden. */
int auth_check(const struct principal *principal, const struct http_head *head, struct err *err);

#endif
