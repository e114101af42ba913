/* SPDX-License-Identifier: Apache-2.0
 *
 * See export.h.
 */
#include "clients/cli/export.h"

#include "clients/cli/uri.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void export_release(struct export *export)
{
    free(export->name);
    free(export->socket);
    free(export->host);
}

/* A copy of `length` bytes, with %XX decoded; the caller frees it. */
static char *unescaped(const char *text, size_t length)
{
    char *copy = calloc(1, length + 1);
    for (size_t i = 0, to = 0; copy && i < length; i++) {
        char hex[3] = {0};
        bool is_escape = text[i] == '%' && i + 2 < length;
        if (is_escape && isxdigit((unsigned char)text[i + 1]) &&
            isxdigit((unsigned char)text[i + 2])) {
            memcpy(hex, text + i + 1, 2);
            copy[to++] = (char)strtol(hex, NULL, 16);
            i += 2;
        } else {
            copy[to++] = text[i];
        }
    }
    return copy;
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT of `length` bytes. */
static int host_take(struct export *export, const char *text, size_t length,
                     struct failure *failure)
{
    bool has_brackets = length && *text == '[';
    const char *end = text + length;
    const char *close = has_brackets ? memchr(text, ']', length) : NULL;
    const char *colon = close ? close + 1 : has_brackets ? end : memchr(text, ':', length);
    colon = colon ? colon : end;
    const char *digit = colon < end ? colon + 1 : end;
    export->port = colon < end ? 0 : EXPORT_PORT_DEFAULT;
    for (; digit < end && isdigit((unsigned char)*digit) && export->port < 65536; digit++)
        export->port = export->port * 10 + (*digit - '0');
    if (digit != end || (colon < end && *colon != ':') || export->port < 1 ||
        export->port > 65535 || (has_brackets && !close) || colon == text)
        return fail(failure, EXIT_USAGE, "'%.*s' is no HOST or HOST:PORT", (int)length, text);
    export->host = close ? strndup(text + 1, (size_t)(close - text - 1))
                         : strndup(text, (size_t)(colon - text));
    return export->host ? 0 : fail_memory(failure);
}

int export_parse_uri(struct export *export, const char *uri, struct failure *failure)
{
    const char *authority = strstr(uri, "://");
    size_t scheme = authority ? (size_t)(authority - uri) : 0;
    bool is_unix = scheme > 5 && strncmp(authority - 5, "+unix", 5) == 0;
    const char *path = authority ? strchr(authority + 3, '/') : NULL;
    if (strncmp(uri, "nbd", 3) != 0 || !path)
        return fail(failure, EXIT_REFUSED, "'%s' is no URI of NBD", uri);
    const char *query = path + strcspn(path, "?"), *socket = strstr(query, "socket=");
    export->has_tls = strncmp(uri, "nbds", 4) == 0;
    export->name = unescaped(path + 1, (size_t)(query - path - 1));
    if (!export->name)
        return fail_memory(failure);
    if (!is_unix)
        return host_take(export, authority + 3, (size_t)(path - authority - 3), failure);
    if (!socket)
        return fail(failure, EXIT_REFUSED, "'%s' names no socket", uri);
    export->socket = unescaped(socket + 7, strcspn(socket + 7, "&"));
    return export->socket ? 0 : fail_memory(failure);
}

int export_parse_address(struct export *export, const char *name, const char *address,
                         struct failure *failure)
{
    export->name = strdup(name);
    if (strncmp(address, "unix:", 5) == 0 && address[5]) {
        export->socket = strdup(address + 5);
        return export->name && export->socket ? 0 : fail_memory(failure);
    }
    export->has_tls = strncmp(address, "tls:", 4) == 0;
    address += export->has_tls ? 4 : 0;
    return export->name ? host_take(export, address, strlen(address), failure)
                        : fail_memory(failure);
}

/* A path in a query: its slashes stay, as people write it. */
static void path_put(FILE *to, const char *path)
{
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        CLEANUP_FREE char *copy = strndup(part, length);
        if (copy)
            uri_escape(to, copy);
        part += length;
        if (*part)
            fputc(*part++, to);
    }
}

char *export_uri(const struct export *export)
{
    char *uri = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&uri, &bytes);
    if (!to)
        return NULL;
    bool has_colon = export->host && strchr(export->host, ':');
    fprintf(to, "nbd%s%s://", export->has_tls ? "s" : "", export->socket ? "+unix" : "");
    if (!export->socket)
        fprintf(to, has_colon ? "[%s]:%d" : "%s:%d", export->host, export->port);
    fputc('/', to);
    for (const char *c = export->name; *c; c++)
        fprintf(to, isalnum((unsigned char)*c) || strchr("-._~@", *c) ? "%c" : "%%%02X",
                (unsigned char)*c);
    if (export->socket)
        fputs("?socket=", to), path_put(to, export->socket);
    fclose(to);
    return uri;
}
