/* SPDX-License-Identifier: Apache-2.0
 *
 * See access.h.
 */
#include "clients/cli/access.h"

#include "base/cleanup.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TOKEN_BYTES_MAX 4096

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

int access_check_url(const char *url, bool *is_private, struct failure *failure)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL, *host = NULL, *query = NULL, *user = NULL;
    bool is_good = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                   curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                   curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                   curl_url_get(parsed, CURLUPART_QUERY, &query, 0) != CURLUE_OK &&
                   curl_url_get(parsed, CURLUPART_USER, &user, 0) != CURLUE_OK &&
                   (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
    *is_private = is_good && (strcasecmp(scheme, "https") == 0 || is_loopback(host));
    curl_free(scheme);
    curl_free(host);
    curl_free(query);
    curl_free(user);
    curl_url_cleanup(parsed);
    return is_good ? 0 : fail(failure, EXIT_USAGE, "'%s' is no URL such as https://HOST:7420", url);
}

/* The first line of a file, which the caller frees; NULL, and `failure`. */
static char *line_of_file(const char *path, struct failure *failure)
{
    FILE *stream = fopen(path, "re");
    char *line = stream ? calloc(1, TOKEN_BYTES_MAX + 2) : NULL;
    bool is_read = line && fgets(line, TOKEN_BYTES_MAX + 2, stream);
    if (!is_read)
        fail(failure, EXIT_USAGE, "cannot read a token from '%s': %s", path,
             errno ? strerror(errno) : "it is empty");
    if (stream)
        fclose(stream);
    if (!is_read) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

int access_authorization(const struct call *call, char **authorization, struct failure *failure)
{
    const char *token = call_option(call, OPTION_TOKEN),
               *file = call_option(call, OPTION_TOKEN_FILE);
    errno = 0;
    CLEANUP_FREE char *line = file ? line_of_file(file, failure) : NULL;
    if (file && !line)
        return -1;
    token = line ? line : token;
    if (!token)
        return 0;
    bool is_good = *token && strlen(token) <= TOKEN_BYTES_MAX;
    for (const char *c = token; *c; c++)
        is_good = is_good && *c > ' ' && *c < 0x7f;
    if (!is_good)
        return fail(failure, EXIT_USAGE,
                    "the token is empty, too long, or holds what no token does");
    if (asprintf(authorization, "Authorization: Bearer %s", token) < 0)
        return fail_memory(failure);
    return 0;
}
