/* SPDX-License-Identifier: Apache-2.0
 *
 * See local-call.h. The server is ours: it sends a Content-Length or nothing, and closes the
 * connection as it is asked to.
 */
#include "service/local-call.h"

#include "base/cleanup.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define REPLY_MAX_BYTES (4 << 20)
#define WAIT_S          60

/* The connected socket; -2: nobody serves there; -1: *err. */
static int socket_connect(const char *path, struct err *err)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = WAIT_S};
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof(name.sun_path))
        return err_set(err, ErrInvalidValue, 0, "the path of socket '%s' is too long", path);
    strcpy(name.sun_path, path);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0)
        return steal_fd(&fd);
    if (fd >= 0 && (errno == ENOENT || errno == ECONNREFUSED))
        return -2;
    return err_set(err, ErrOpenFileFailed, errno, "socket '%s' cannot be used", path);
}

static int request_send(int fd, const char *method, const char *path, const char *body,
                        struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    int length = asprintf(&text,
                          "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          method, path, body ? strlen(body) : 0, body ? body : "");
    if (length < 0) {
        text = NULL;
        return err_set(err, ErrOutOfResources, 0, "there is no memory for a request");
    }
    for (ssize_t sent = 0, part; sent < length; sent += part)
        if ((part = send(fd, text + sent, (size_t)(length - sent), MSG_NOSIGNAL)) < 0)
            return err_set(err, ErrOpenFileFailed, errno, "the daemon does not take the request");
    return 0;
}

/* All that the daemon sends, with a zero behind it; heap. */
static char *reply_receive(int fd, struct err *err)
{
    CLEANUP_FREE char *text = calloc(1, REPLY_MAX_BYTES + 1);
    ssize_t part = 1;
    for (size_t length = 0; text && part > 0 && length < REPLY_MAX_BYTES; length += (size_t)part)
        if ((part = recv(fd, text + length, REPLY_MAX_BYTES - length, 0)) < 0) {
            err_set(err, ErrOpenFileFailed, errno, "the daemon does not answer");
            return NULL;
        }
    if (!text)
        err_set(err, ErrOutOfResources, 0, "there is no memory for a reply");
    return steal(text);
}

static int refusal_take(const struct cJSON *json, struct err *err)
{
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItem(json, "code"));
    const char *detail = cJSON_GetStringValue(cJSON_GetObjectItem(json, "detail"));
    enum err_code known = code ? err_code_from_name(code) : ERR_CODE_COUNT;
    return err_set(err, known < ERR_CODE_COUNT ? known : ErrInternalError, 0, "%s",
                   detail ? detail : "the daemon refused the call");
}

static int reply_take(char *text, struct cJSON **json, struct err *err)
{
    int status = 0;
    char *body = strstr(text, "\r\n\r\n");
    if (sscanf(text, "HTTP/1.1 %d ", &status) != 1 || !body)
        return err_set(err, ErrInternalError, 0, "the daemon's reply is not HTTP");
    *json = body[4] ? cJSON_Parse(body + 4) : NULL;
    if (body[4] && !*json)
        return err_set(err, ErrInternalError, 0, "the daemon's reply is cut short");
    if (status < 400)
        return 1;
    refusal_take(*json, err);
    cJSON_Delete(steal(*json));
    return -1;
}

int local_call(const char *socket_path, const char *method, const char *path, const char *body,
               struct cJSON **json, struct err *err)
{
    *json = NULL;
    CLEANUP_CLOSE int fd = socket_connect(socket_path, err);
    if (fd < 0)
        return fd == -2 ? 0 : -1;
    if (request_send(fd, method, path, body, err) != 0)
        return -1;
    char *text = reply_receive(fd, err);
    if (!text)
        return -1;
    int result = reply_take(text, json, err);
    explicit_bzero(text, REPLY_MAX_BYTES); /* it may have a secret */
    free(text);
    return result;
}
