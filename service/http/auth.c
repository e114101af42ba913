/* SPDX-License-Identifier: Apache-2.0
 *
 * See auth.h.
 */
#include "service/http/auth.h"

#include "base/cleanup.h"
#include "service/http/head.h"
#include "store/tokens.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- principals ---- */

/* The scope that the groups give a member of `gid`. */
static enum scope group_scope(const struct option_groups *groups, gid_t gid)
{
    enum scope scope = SCOPE_NONE;
    for (size_t i = 0; i < groups->count; i++)
        if (groups->list[i].gid == gid && groups->list[i].scope > scope)
            scope = groups->list[i].scope;
    return scope;
}

/* The largest scope of any group of the peer: its group and its supplementary ones, as they were
 * when it connected. */
static enum scope peer_group_scope(int fd, gid_t gid, const struct option_groups *groups)
{
    enum scope scope = group_scope(groups, gid);
    socklen_t bytes = 0;
    if (groups->count == 0 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &bytes) == 0 ||
        errno != ERANGE)
        return scope;
    CLEANUP_FREE gid_t *of_peer = malloc(bytes);
    if (!of_peer || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, of_peer, &bytes) != 0)
        return scope;
    for (size_t i = 0; i < bytes / sizeof(*of_peer); i++)
        if (group_scope(groups, of_peer[i]) > scope)
            scope = group_scope(groups, of_peer[i]);
    return scope;
}

static void principal_init_unix(struct principal *principal, int fd,
                                const struct option_groups *groups)
{
    struct ucred user = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    socklen_t bytes = sizeof(user);
    bool is_known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &bytes) == 0;
    bool is_ours = is_known && (user.uid == 0 || user.uid == geteuid());
    principal->scope = is_ours    ? SCOPE_ADMIN
                       : is_known ? peer_group_scope(fd, user.gid, groups)
                                  : SCOPE_NONE;
    principal->kind = principal->scope == SCOPE_NONE ? PRINCIPAL_UNIX_FORBIDDEN : PRINCIPAL_UNIX;
    principal->uid = user.uid;
    principal->gid = user.gid;
}

static void principal_init_tcp(struct principal *principal, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
    socklen_t bytes = sizeof(peer);
    principal->kind = PRINCIPAL_TCP;
    if (getpeername(fd, &peer.any, &bytes) != 0)
        return;
    if (peer.any.sa_family == AF_INET6) {
        principal->address = peer.v6.sin6_addr;
        return;
    }
    principal->address.s6_addr16[5] = 0xffff;
    principal->address.s6_addr32[3] = peer.v4.sin_addr.s_addr;
}

void principal_init(struct principal *principal, int fd, bool is_unix,
                    const struct option_groups *groups)
{
    *principal = (struct principal){.uid = (uid_t)-1, .gid = (gid_t)-1};
    if (is_unix)
        principal_init_unix(principal, fd, groups);
    else
        principal_init_tcp(principal, fd);
    assert((principal->kind == PRINCIPAL_TCP) != is_unix);
}

/* The scope that the option `mapping`, "NAME=SCOPE", gives the name; else SCOPE_NONE. */
static enum scope mapping_scope(const char *mapping, const char *name)
{
    const char *end = strrchr(mapping, '=');
    size_t length = (size_t)(end - mapping);
    bool is_it = strlen(name) == length && memcmp(mapping, name, length) == 0;
    return is_it ? scope_from_name(end + 1) : SCOPE_NONE;
}

void principal_identify(struct principal *principal, const struct tls_names *names,
                        const struct option_addresses *scopes)
{
    assert(principal->kind == PRINCIPAL_TCP);
    principal->has_tls = true;
    for (size_t i = 0; i < names->count; i++) {
        enum scope best = SCOPE_NONE;
        for (size_t j = 0; j < scopes->count; j++) {
            enum scope scope = mapping_scope(scopes->list[j], names->list[i]);
            best = scope > best ? scope : best;
        }
        if (i > 0 && best <= principal->scope)
            continue;
        strcpy(principal->certificate, names->list[i]);
        principal->scope = best;
    }
}

enum scope principal_scope(const struct principal *principal)
{
    return *principal->token.id ? principal->token.scope : principal->scope;
}

bool principal_is(const struct principal *principal, const struct principal *other)
{
    return principal->kind == other->kind && principal->uid == other->uid &&
           memcmp(&principal->address, &other->address, sizeof(other->address)) == 0;
}

void principal_format(const struct principal *principal, char text[PRINCIPAL_TEXT_BYTES])
{
    if (*principal->token.id)
        snprintf(text, PRINCIPAL_TEXT_BYTES, "token %s %s", principal->token.name,
                 principal->token.id);
    else if (*principal->certificate)
        snprintf(text, PRINCIPAL_TEXT_BYTES, "certificate %s", principal->certificate);
    else if (principal->kind != PRINCIPAL_TCP)
        snprintf(text, PRINCIPAL_TEXT_BYTES, "uid %d", (int)principal->uid);
    else if (IN6_IS_ADDR_V4MAPPED(&principal->address))
        inet_ntop(AF_INET, &principal->address.s6_addr32[3], text, PRINCIPAL_TEXT_BYTES);
    else
        inet_ntop(AF_INET6, &principal->address, text, PRINCIPAL_TEXT_BYTES);
}

/* ---- admission ---- */

static bool host_is_loopback(const char *host)
{
    static const char *const names[] = {"localhost", "127.", "[::1]"};
    if (!host)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = strlen(names[i]);
        if (strncasecmp(host, names[i], length) != 0)
            continue;
        host += length;
        if (names[i][length - 1] == '.')
            host += strspn(host, "0123456789.");
        return *host == '\0' || *host == ':';
    }
    return false;
}

/* Whether the target has no host, or a loopback one. */
static bool target_is_loopback(const char *target)
{
    char host[256];
    if (strncasecmp(target, "http://", 7) != 0 && strncasecmp(target, "https://", 8) != 0)
        return true;
    target = strstr(target, "//") + 2;
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(target, "/?"), target);
    return host_is_loopback(host);
}

int auth_check(const struct principal *principal, const struct http_head *head, struct err *err)
{
    switch (principal->kind) {
    case PRINCIPAL_UNIX:
        return 0;
    case PRINCIPAL_TCP:
        if (principal->has_tls)
            return 0;
        if (host_is_loopback(head->host) && target_is_loopback(head->target))
            return 0;
        return err_set(err, ErrForbidden, 0, "the Host header must name a loopback address");
    default:
        if (http_head_field(head, "Authorization", 0))
            return 0;
        return err_set(err, ErrForbidden, 0,
                       "uid %d may not call without a token; send one, or let --allow-group admit "
                       "a group that the user is in",
                       (int)principal->uid);
    }
}

/* Whether the host is a name that somebody may own: with a dot, neither loopback nor an address. */
static bool host_is_domain(const char *host)
{
    return host && strchr(host, '.') && !host_is_loopback(host) &&
           host[strspn(host, "0123456789.:")] != '\0';
}

/* Whether the origin, "http://HOST" or "https://HOST" (RFC 6454, section 6.2), has the host of the
 * header Host; there the default port may be written out. "null" has no host. */
static bool origin_is_host(const char *origin, const char *host)
{
    bool is_https = strncasecmp(origin, "https://", 8) == 0;
    const char *port = is_https ? ":443" : ":80";
    if (!host || (!is_https && strncasecmp(origin, "http://", 7) != 0))
        return false;
    origin += is_https ? 8 : 7;
    size_t length = strlen(origin);
    return strncasecmp(host, origin, length) == 0 &&
           (host[length] == '\0' || strcmp(host + length, port) == 0);
}

/* Whether all pages that sent the request are of this host. A token needs no such proof: no page
 * of another site can add it. */
static bool origins_are_host(const struct http_head *head)
{
    const char *origin;
    if (http_head_field(head, "Authorization", 0))
        return true;
    for (size_t i = 0; (origin = http_head_field(head, "Origin", i)); i++)
        if (!origin_is_host(origin, head->host))
            return false;
    return true;
}

/* Whether no page that a browser shows for another site has sent the request. Browsers say for
 * which site it is (Fetch Metadata, section 2.1), but not to an address without TLS; then what may
 * change anything has the page's Origin, which must be the host. A page under a name of its own
 * that leads here (DNS rebinding) has that name in Host. Over TCP auth_check() has looked at the
 * name. */
static int auth_check_page(const struct principal *principal, const struct http_head *head,
                           struct err *err)
{
    const char *site = http_head_field(head, "Sec-Fetch-Site", 0);
    bool is_unix = principal->kind == PRINCIPAL_UNIX;
    if (site && strcasecmp(site, "same-origin") != 0 && strcasecmp(site, "none") != 0)
        return err_set(err, ErrForbidden, 0, "a page of another site may not call; open /ui/ here");
    if (is_unix && host_is_domain(head->host) && !http_head_field(head, "Authorization", 0))
        return err_set(err, ErrForbidden, 0,
                       "the Host header has the name of a site; let the proxy send localhost, or "
                       "send a token");
    if (!site && !origins_are_host(head))
        return err_set(err, ErrForbidden, 0,
                       "the Origin header names another site than Host; open /ui/ here, let the "
                       "proxy send the Host that it gets, or send a token");
    return 0;
}

/* The token of "Bearer TOKEN" (RFC 6750, section 2.1); NULL: the request brings none. */
static const char *head_token(const struct http_head *head)
{
    static const char scheme[] = "Bearer ";
    const char *value = http_head_field(head, "Authorization", 0);
    if (!value || strncasecmp(value, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    return value + sizeof(scheme) - 1 + strspn(value + sizeof(scheme) - 1, " ");
}

int auth_authorize(struct principal *principal, struct service *service,
                   const struct http_head *head, enum scope needed, struct err *err)
{
    bool has_field = http_head_field(head, "Authorization", 0) != NULL;
    const char *token = head_token(head);
    if (needed == SCOPE_NONE && principal->kind != PRINCIPAL_UNIX_FORBIDDEN)
        return 0;
    if (auth_check_page(principal, head, err) != 0)
        return -1;
    if (http_head_field(head, "Authorization", 1))
        return err_set(err, ErrUnauthorized, 0, "there are two fields Authorization");
    if (has_field ? !token : principal->scope == SCOPE_NONE)
        return err_set(err, ErrUnauthorized, 0,
                       "this call needs a token: send 'Authorization: Bearer SECRET'");
    if (token && tokens_check(service, token, &principal->token, err) != 0)
        return -1;
    if (principal_scope(principal) >= needed)
        return 0;
    return err_set(err, ErrInsufficientScope, 0,
                   "this call needs scope '%s', and this caller has '%s'", scope_name(needed),
                   scope_name(principal_scope(principal)));
}

void auth_challenge(const struct http_head *head, const struct err *err, enum scope needed,
                    char text[AUTH_CHALLENGE_BYTES])
{
    int length = snprintf(text, AUTH_CHALLENGE_BYTES, "Bearer realm=\"snapgroupd\"");
    size_t room = AUTH_CHALLENGE_BYTES - (size_t)length;
    if (err->code == ErrInsufficientScope)
        snprintf(text + length, room, ", error=\"insufficient_scope\", scope=\"%s\"",
                 scope_name(needed));
    else if (head_token(head))
        snprintf(text + length, room, ", error=\"invalid_token\"");
}
