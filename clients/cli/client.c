/* SPDX-License-Identifier: Apache-2.0
 *
 * See client.h.
 */
#include "clients/cli/client.h"

#include "clients/cli/access.h"
#include "clients/cli/options.h"
#include "clients/cli/values.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define REPLY_BYTES_MAX   ((size_t)256 << 20)
#define PATIENCE_MS       120000
#define STREAM_SILENCE_MS 30000 /* the daemon sends something every 10 s */

struct client {
    CURL *curl;
    char *where;
    char *base;          /* what stands before the path */
    char *authorization; /* a header, or NULL */
    int64_t deadline_ms;
    char error[CURL_ERROR_SIZE];
};

/* What is going on in an exchange. */
struct exchanging {
    struct client *client;
    struct reply *reply;
    FILE *body;
    size_t taken_bytes;
    stream_take take; /* of a stream, or NULL */
    void *context;
    int64_t heard_ms; /* when the stream began, or last sent something */
    bool is_silent;   /* it has sent nothing for too long */
    bool has_ended;   /* the stream, because `take` said so, or nobody reads standard output */
};

void reply_release(struct reply *reply)
{
    free(reply->body);
    free(reply->etag);
    *reply = (struct reply){0};
}

int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t client_deadline_ms(const struct client *client)
{
    return client->deadline_ms;
}

const char *client_where(const struct client *client)
{
    return client->where;
}

/* ---- opening ---- */

static int place_take(struct client *client, const struct call *call, struct failure *failure)
{
    const char *url = call_option(call, OPTION_URL), *socket = call_option(call, OPTION_SOCKET);
    bool is_private = true;
    if (url && access_check_url(url, &is_private, failure) != 0)
        return -1;
    if (!is_private && client->authorization)
        return fail(failure, EXIT_USAGE,
                    "a token is not sent to another machine in the clear; use https");
    socket = socket ? socket : CLI_SOCKET_DEFAULT;
    client->base = strdup(url ? url : "http://localhost");
    if (!client->base ||
        asprintf(&client->where, "%s%s", url ? "" : "unix:", url ? url : socket) < 0)
        return fail_memory(failure);
    size_t length = strlen(client->base);
    while (length && client->base[length - 1] == '/')
        client->base[--length] = '\0';
    if (!url && curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, socket) != CURLE_OK)
        return fail_memory(failure);
    if (!url)
        curl_easy_setopt(client->curl, CURLOPT_PROXY, "");
    return 0;
}

static int files_take(struct client *client, const struct call *call, struct failure *failure)
{
    static const struct {
        enum option option;
        CURLoption name;
    } files[] = {{OPTION_CA_FILE, CURLOPT_CAINFO},
                 {OPTION_CERT_FILE, CURLOPT_SSLCERT},
                 {OPTION_KEY_FILE, CURLOPT_SSLKEY}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        const char *path = call_option(call, files[i].option);
        if (path && access(path, R_OK) != 0)
            return fail(failure, EXIT_USAGE, "--%s: cannot read '%s': %s",
                        call->option_rows[files[i].option].name, path, strerror(errno));
        if (path && curl_easy_setopt(client->curl, files[i].name, path) != CURLE_OK)
            return fail_memory(failure);
    }
    return 0;
}

int client_open(struct call *call)
{
    struct client *client = call->client = calloc(1, sizeof(*client));
    if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        !(client->curl = curl_easy_init()))
        return fail_memory(&call->failure);
    const char *timeout = call_option(call, OPTION_TIMEOUT);
    int64_t timeout_ms;
    if (timeout && value_time("--timeout", timeout, &timeout_ms, &call->failure) != 0)
        return -1;
    client->deadline_ms = timeout ? monotonic_ms() + timeout_ms + 1 : 0;
    curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(client->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(client->curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(client->curl, CURLOPT_USERAGENT, "snapgroupctl/" SNAPGROUPCTL_VERSION);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->error);
    if (access_authorization(call, &client->authorization, &call->failure) != 0)
        return -1;
    if (place_take(client, call, &call->failure) != 0)
        return -1;
    return files_take(client, call, &call->failure);
}

void client_close(struct call *call)
{
    struct client *client = call->client;
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    curl_global_cleanup();
    free(client->where);
    free(client->base);
    free(client->authorization);
    free(client);
    call->client = NULL;
}

/* ---- an exchange ---- */

/* The value of a header line if it is `name`'s; it ends before the line's end. */
static const char *header_value(const char *line, size_t length, const char *name, size_t *bytes)
{
    size_t name_length = strlen(name);
    if (length <= name_length || line[name_length] != ':' ||
        strncasecmp(line, name, name_length) != 0)
        return NULL;
    const char *value = line + name_length + 1, *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    *bytes = (size_t)(end - value);
    return value;
}

static size_t header_take(char *line, size_t size, size_t count, void *context)
{
    struct reply *reply = ((struct exchanging *)context)->reply;
    size_t length = size * count, bytes = 0;
    const char *value = header_value(line, length, "ETag", &bytes);
    if (value && !reply->etag)
        reply->etag = strndup(value, bytes);
    value = header_value(line, length, "Content-Type", &bytes);
    if (value)
        reply->is_json = memmem(value, bytes, "json", 4) != NULL;
    value = header_value(line, length, "Retry-After", &bytes);
    if (value && bytes < 7) {
        char seconds[8];
        snprintf(seconds, sizeof(seconds), "%.*s", (int)bytes, value);
        reply->retry_after_ms = strtol(seconds, NULL, 10) * 1000;
    }
    return length;
}

static size_t body_take(char *text, size_t size, size_t count, void *context)
{
    struct exchanging *exchanging = context;
    size_t bytes = size * count;
    long status = 0;
    exchanging->heard_ms = monotonic_ms();
    curl_easy_getinfo(exchanging->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exchanging->take && status == 200) {
        exchanging->has_ended = exchanging->take(exchanging->context, text, bytes) != 0;
        return exchanging->has_ended ? 0 : bytes;
    }
    exchanging->taken_bytes += bytes;
    return exchanging->taken_bytes > REPLY_BYTES_MAX ? 0 : fwrite(text, 1, bytes, exchanging->body);
}

/* Of a stream: ends it when the reader of standard output has gone, and when it is silent. curl's
 * own limit is one of bytes a second, below which a stream is that lives. */
static int progress_take(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct exchanging *exchanging = context;
    struct pollfd output = {.fd = STDOUT_FILENO};
    if (exchanging->take && poll(&output, 1, 0) == 1 && output.revents & (POLLERR | POLLNVAL))
        exchanging->has_ended = true;
    exchanging->is_silent =
        exchanging->take && monotonic_ms() - exchanging->heard_ms >= STREAM_SILENCE_MS;
    return exchanging->has_ended || exchanging->is_silent;
}

static void header_add(struct curl_slist **headers, const char *name, const char *value)
{
    CLEANUP_FREE char *line = NULL;
    if (value && asprintf(&line, *value ? "%s: %s" : "%s:", name, value) >= 0)
        *headers = curl_slist_append(*headers, line);
}

static struct curl_slist *headers_make(const struct client *client, const struct request *request)
{
    bool is_patch = strcmp(request->method, "PATCH") == 0;
    const char *type = request->content_type ? request->content_type
                       : is_patch            ? "application/merge-patch+json"
                                             : "application/json";
    struct curl_slist *headers = NULL;
    header_add(&headers, "Content-Type", request->body ? type : "");
    header_add(&headers, "Expect", "");
    CLEANUP_FREE char *key = NULL;
    if (request->key && asprintf(&key, "\"%s\"", request->key) >= 0)
        header_add(&headers, "Idempotency-Key", key);
    header_add(&headers, "Prefer", request->prefer);
    header_add(&headers, "If-Match", request->match);
    if (client->authorization)
        headers = curl_slist_append(headers, client->authorization);
    return headers;
}

/* Sets what differs from request to request. */
static void request_set(struct client *client, const struct request *request, const char *url,
                        int64_t timeout_ms)
{
    CURL *curl = client->curl;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(curl, CURLOPT_NOBODY, strcmp(request->method, "HEAD") == 0 ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->body) {
        size_t bytes = request->body_bytes ? request->body_bytes : strlen(request->body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
    }
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
}

static int64_t timeout_of(const struct client *client, const struct request *request,
                          bool is_stream)
{
    int64_t left_ms = client->deadline_ms - monotonic_ms();
    if (client->deadline_ms)
        return left_ms > 0 ? left_ms : 1;
    return is_stream ? 0 : request->patience_ms ? request->patience_ms : PATIENCE_MS;
}

static enum exchange exchange_not_connected(struct client *client, const char *why,
                                            struct failure *failure)
{
    long os_error = 0;
    curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_error);
    fail(failure, EXIT_UNREACHABLE, "cannot connect to %s: %s%s", client->where,
         os_error ? strerror((int)os_error) : why,
         os_error == ENOENT   ? "; is snapgroupd running?"
         : os_error == EACCES ? "; root may call, and groups that --allow-group of it names"
                              : "");
    return os_error == EACCES || os_error == EPERM ? EXCHANGE_FAILED : EXCHANGE_UNSENT;
}

/* What a failed exchange means. */
static enum exchange exchange_judge(struct client *client, CURLcode code, int64_t timeout_ms,
                                    struct failure *failure)
{
    const char *why = *client->error ? client->error : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        fail(failure, EXIT_UNREACHABLE, "no reply from %s within %.1f s", client->where,
             (double)timeout_ms / 1000);
        return EXCHANGE_LATE;
    case CURLE_COULDNT_CONNECT:
        return exchange_not_connected(client, why, failure);
    case CURLE_SSL_CONNECT_ERROR: /* not one of certificates: the server may be ending */
        fail(failure, EXIT_UNREACHABLE, "%s: %s", client->where, why);
        return EXCHANGE_UNSENT;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
        fail(failure, EXIT_UNREACHABLE, "the connection to %s was lost: %s", client->where, why);
        return EXCHANGE_LOST;
    default:
        fail(failure, EXIT_UNREACHABLE, "%s: %s", client->where, why);
        return EXCHANGE_FAILED;
    }
}

/* Has curl hand what it receives to `exchanging`. */
static void exchange_set(struct exchanging *exchanging)
{
    CURL *curl = exchanging->client->curl;
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header_take);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchanging);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchanging);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress_take);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, exchanging);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, exchanging->take ? 0L : 1L);
}

static enum exchange exchange_run(struct exchanging *exchanging, const struct request *request,
                                  struct curl_slist *headers, struct failure *failure)
{
    struct client *client = exchanging->client;
    struct reply *reply = exchanging->reply;
    CURL *curl = client->curl;
    CLEANUP_FREE char *url = NULL;
    int64_t timeout_ms = timeout_of(client, request, exchanging->take != NULL);
    exchanging->body = open_memstream(&reply->body, &reply->bytes);
    if (!exchanging->body || asprintf(&url, "%s%s", client->base, request->path) < 0)
        return fail_memory(failure), EXCHANGE_FAILED;
    *client->error = '\0';
    request_set(client, request, url, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    exchange_set(exchanging);
    exchanging->heard_ms = monotonic_ms();
    CURLcode code = curl_easy_perform(curl);
    fclose(exchanging->body);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    if (exchanging->has_ended)
        return EXCHANGE_ENDED;
    if (exchanging->is_silent) {
        fail(failure, EXIT_UNREACHABLE, "%s sends nothing", client->where);
        return EXCHANGE_LOST;
    }
    return code == CURLE_OK ? EXCHANGE_REPLIED : exchange_judge(client, code, timeout_ms, failure);
}

static enum exchange exchange(struct exchanging *exchanging, const struct request *request,
                              struct curl_slist *headers, struct failure *failure)
{
    reply_release(exchanging->reply);
    enum exchange result = exchange_run(exchanging, request, headers, failure);
    curl_slist_free_all(headers);
    curl_easy_setopt(exchanging->client->curl, CURLOPT_HTTPHEADER, NULL);
    return result;
}

enum exchange client_exchange(struct client *client, const struct request *request,
                              struct reply *reply, struct failure *failure)
{
    struct exchanging exchanging = {.client = client, .reply = reply};
    return exchange(&exchanging, request, headers_make(client, request), failure);
}

enum exchange client_stream(struct client *client, const struct request *request,
                            const char *last_id, stream_take take, void *context,
                            struct reply *reply, struct failure *failure)
{
    struct exchanging exchanging = {
        .client = client, .reply = reply, .take = take, .context = context};
    struct curl_slist *headers = headers_make(client, request);
    header_add(&headers, "Accept", "text/event-stream");
    header_add(&headers, "Last-Event-ID", *last_id ? last_id : NULL);
    return exchange(&exchanging, request, headers, failure);
}
