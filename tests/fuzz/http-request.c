/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: whatever bytes arrive on a connection, each request gets one well-formed reply,
 * and the replies are the same however the bytes are split, so that no body is ever taken for a
 * request.
 *
 *     input --> bytes --> recv()  pipeline: head, chunks, JSON, route  sendmsg() --> checked
 *
 * One execution is two connections with the same bytes, once in one piece and once in small ones.
 * The pipeline runs on this thread; its system calls on the socket are replaced (the linker's
 * --wrap). The service is not ready, so calls that need the store end with 503 after their body is
 * decoded.
 *
 * The input is what is sent, but for the byte 1: it and the next byte N repeat the byte before it
 * 64 N times, so that small inputs reach the limits.
 */
#include "base/monotonic.h"
#include "tests/lib/fuzz.h"

#include "service/context.h"
#include "service/http/connection.h"
#include "service/http/pipeline.h"
#include "service/metrics.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

enum { SENT_BYTES_MAX = 256 << 10, REPLIES_MAX = 4096, SOCKET_FD = 1000000 };

static struct service service;
static struct http_shared shared = {.service = &service, .lock = PTHREAD_MUTEX_INITIALIZER};
static struct http_connection connection;

/* ---- the client's bytes ---- */

static struct {
    char bytes[SENT_BYTES_MAX];
    size_t length, at;
    uint64_t random; /* 0: in one piece */
} sent;

static void sent_fill(const uint8_t *data, size_t size)
{
    sent.length = 0;
    for (size_t i = 0; i < size; i++) {
        size_t times = 1;
        uint8_t byte = data[i];
        if (byte == 1 && i > 0 && i + 1 < size) {
            byte = data[i - 1];
            times = 64 * data[++i];
        }
        for (; times > 0 && sent.length < SENT_BYTES_MAX; times--)
            sent.bytes[sent.length++] = (char)byte;
    }
}

/* ---- the replies ---- */

static struct {
    char bytes[1 << 20]; /* one reply */
    size_t length;
    size_t count;
    bool is_last;
    int statuses[REPLIES_MAX];
} replies;

static const char *header_value(const char *head, const char *name)
{
    const char *field = strcasestr(head, name);
    return field ? field + strlen(name) : NULL;
}

/* What a reply's body says must agree with its head. */
static void body_check(int status, const char *type, const char *body, size_t length)
{
    if (!type || strncmp(type, "application/yaml", 16) == 0)
        return;
    cJSON *json = cJSON_ParseWithLength(body, length);
    MUST(json);
    MUST((strncmp(type, "application/problem+json\r\n", 26) == 0) == (status >= 400));
    if (status >= 400) {
        const char *code = cJSON_GetStringValue(cJSON_GetObjectItem(json, "code"));
        MUST(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "status")) == status);
        MUST(code && strcmp(code, "OutOfResources") != 0 && status != 500);
    }
    cJSON_Delete(json);
}

/* Checks the first reply of those that have been sent, which all are whole. */
static void reply_check(bool is_head)
{
    char *end = memmem(replies.bytes, replies.length, "\r\n\r\n", 4);
    MUST(end && strncmp(replies.bytes, "HTTP/1.1 ", 9) == 0);
    end[2] = '\0';
    int status = atoi(replies.bytes + 9);
    size_t head = (size_t)(end + 4 - replies.bytes);
    if (status == 100) {
        MUST(replies.length == head);
        return;
    }
    MUST(!replies.is_last && replies.count < REPLIES_MAX);
    const char *length = header_value(replies.bytes, "\r\nContent-Length: ");
    MUST(length && header_value(replies.bytes, "\r\nX-Request-Id: "));
    MUST(replies.length - head == (is_head ? 0 : strtoul(length, NULL, 10)));
    if (!is_head)
        body_check(status, header_value(replies.bytes, "\r\nContent-Type: "), end + 4,
                   replies.length - head);
    replies.is_last = header_value(replies.bytes, "\r\nConnection: close") != NULL;
    replies.statuses[replies.count++] = status;
}

/* ---- what the connection calls ---- */

ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_shutdown(int fd, int how);
void __wrap_log_info(const char *format, ...);

ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags)
{
    MUST(fd == SOCKET_FD && length > 0 && flags == 0);
    size_t left = sent.length - sent.at;
    if (length > left)
        length = left;
    if (sent.random && length > 1)
        length = 1 + draw(&sent.random, length < 40 ? length : 40);
    memcpy(buffer, sent.bytes + sent.at, length);
    sent.at += length;
    return (ssize_t)length;
}

/* Takes a reply whole. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    MUST(fd == SOCKET_FD && flags == MSG_NOSIGNAL);
    replies.length = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *part = &message->msg_iov[i];
        MUST(part->iov_len < sizeof(replies.bytes) - replies.length);
        if (part->iov_len > 0)
            memcpy(replies.bytes + replies.length, part->iov_base, part->iov_len);
        replies.length += part->iov_len;
    }
    const char *method = connection.head.method;
    reply_check(method && strcmp(method, "HEAD") == 0);
    return (ssize_t)replies.length;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    (void)fds;
    (void)count;
    (void)timeout;
    MUST(!"poll: the socket is always ready");
    return -1;
}

int __wrap_shutdown(int fd, int how)
{
    MUST(fd == SOCKET_FD && how == SHUT_WR);
    return 0;
}

void __wrap_log_info(const char *format, ...)
{
    (void)format;
}

void __wrap_log_warning(const char *format, ...)
{
    (void)format;
}

int __wrap_tokens_check(struct service *of, const char *secret, struct token_use *use,
                        struct err *err)
{
    (void)of;
    if (secret[0] != 't')
        return err_set(err, ErrUnauthorized, 0, "there is no such token");
    *use = (struct token_use){.id = "t", .scope = SCOPE_READ};
    return 0;
}

/* ---- the store, which is not there ---- */

uint64_t __wrap_store_keys_kept(const struct store *store);
uint64_t __wrap_store_keys_kept(const struct store *store)
{
    MUST(!store);
    return 86400;
}

/* ---- executions ---- */

static void connection_serve(uint64_t random)
{
    sent.at = 0;
    sent.random = random;
    replies.count = 0;
    replies.is_last = false;
    connection.principal.kind = PRINCIPAL_UNIX;
    connection.principal.scope = SCOPE_ADMIN;
    connection.phase = HTTP_WAITING;
    connection.since_ms = clock_monotonic_ms();
    connection.stream.fd = SOCKET_FD;
    connection.stream.start = connection.stream.end = 0;
    connection.stream.deadline_ms = 0;
    connection.shared = &shared;
    shared.failures.count = 0; /* or one more 403 than a peer may cause would be a 429 */
    http_pipeline_serve(&connection);
    MUST(service.memory.taken_bytes == 0 && service.calls == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int statuses[REPLIES_MAX];
    uint64_t random = 0xcbf29ce484222325ULL;
    struct err err;
    if (!service.metrics)
        service.metrics = metrics_new(&err);
    MUST(service.metrics);
    for (size_t i = 0; i < size; i++) /* FNV-1a */
        random = (random ^ data[i]) * 0x100000001b3ULL;
    sent_fill(data, size);
    connection_serve(0);
    size_t count = replies.count;
    memcpy(statuses, replies.statuses, count * sizeof(statuses[0]));
    connection_serve(random | 1);
    MUST(replies.count == count);
    MUST(memcmp(statuses, replies.statuses, count * sizeof(statuses[0])) == 0);
    return 0;
}
