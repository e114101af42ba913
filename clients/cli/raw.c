/* SPDX-License-Identifier: Apache-2.0
 *
 * See raw.h.
 */
#include "clients/cli/raw.h"

#include "clients/cli/result.h"
#include "clients/cli/send.h"
#include "clients/cli/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY_BYTES_MAX ((size_t)64 << 20)

/* All of a file, or of standard input for "-"; the caller frees it. */
static char *body_read(const char *path, size_t *bytes, struct failure *failure)
{
    FILE *from = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    CLEANUP_FREE char *text = NULL;
    size_t count = 0;
    FILE *to = from ? open_memstream(&text, bytes) : NULL;
    char piece[4096];
    while (to && *bytes <= BODY_BYTES_MAX && (count = fread(piece, 1, sizeof(piece), from)) > 0) {
        fwrite(piece, 1, count, to);
        fflush(to);
    }
    bool is_read = to && !ferror(from) && *bytes <= BODY_BYTES_MAX;
    if (!is_read)
        fail(failure, EXIT_USAGE, "--data: cannot read '%s': %s", path,
             to && *bytes > BODY_BYTES_MAX ? "it is too long" : strerror(errno));
    if (to)
        fclose(to);
    if (from && from != stdin)
        fclose(from);
    return is_read ? steal(text) : NULL;
}

static int body_take(struct call *call, struct request *request, char **text)
{
    const char *data = call_option(call, OPTION_DATA);
    bool is_file = data && (*data == '@' || strcmp(data, "-") == 0);
    if (is_file) {
        *text = body_read(*data == '@' ? data + 1 : data, &request->body_bytes, &call->failure);
        if (!*text)
            return -1;
    }
    request->body = is_file ? *text : data;
    return 0;
}

static int method_take(struct call *call, char method[16])
{
    const char *given = call_argument(call, 0);
    size_t length = strlen(given);
    for (size_t i = 0; i <= length && length < 16; i++)
        method[i] = (char)toupper((unsigned char)given[i]);
    if (length > 15 || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != length)
        return fail(&call->failure, EXIT_USAGE, "'%s' is no method", given);
    return 0;
}

static int path_check(struct call *call, const char *path)
{
    for (const char *c = path; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '#')
            return fail(&call->failure, EXIT_USAGE,
                        "PATH: write what is no plain character as %%XX");
    return *path == '/' ? 0
                        : fail(&call->failure, EXIT_USAGE, "PATH: '%s' has no / in front", path);
}

int run_api(struct call *call)
{
    char method[16], key[SEND_KEY_BYTES];
    CLEANUP_FREE char *text = NULL;
    CLEANUP_REPLY struct reply reply = {0};
    struct request request = {
        .method = method, .path = call_argument(call, 1), .match = call_option(call, OPTION_MATCH)};
    if (method_take(call, method) != 0 || path_check(call, request.path) != 0 ||
        body_take(call, &request, &text) != 0)
        return -1;
    if (strcmp(method, "POST") == 0) {
        if (send_key(call, key) != 0)
            return -1;
        request.key = key;
    }
    if (client_send(call, &request, &reply) != 0)
        return -1;
    if (reply.bytes && reply.is_json)
        result_write_json(reply.body, reply.bytes);
    else if (reply.bytes && isatty(STDOUT_FILENO))
        text_write(stdout, reply.body, reply.bytes, TEXT_LINES);
    else if (reply.bytes)
        fwrite(reply.body, 1, reply.bytes, stdout);
    return 0;
}
