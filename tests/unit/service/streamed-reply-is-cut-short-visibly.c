/* SPDX-License-Identifier: Apache-2.0
 *
 * A reply whose body is produced piece by piece: in chunks that end with an empty one, by the end
 * of the connection in HTTP/1.0, without a body for HEAD. A stream that fails, or that the daemon's
 * end interrupts, has no last chunk, so that the client knows. It is closed once in any case.
 */
#include "tests/lib/testlib.h"

#include "service/http/connection.h"
#include "service/http/reply.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct source {
    const char *const *pieces; /* NULL: no more; "": nothing yet */
    int end;                   /* after the last one */
    int closed;
    struct http_shared *stops; /* with the last piece */
};

static ssize_t source_next(void *context, char *data, size_t room)
{
    struct source *source = context;
    if (!*source->pieces)
        return source->end;
    const char *piece = *source->pieces++;
    assert_true(strlen(piece) <= room);
    if (source->stops && !*source->pieces)
        atomic_store(&source->stops->is_stopping, true);
    memcpy(data, piece, strlen(piece));
    return *piece ? (ssize_t)strlen(piece) : -EAGAIN;
}

static void source_close(void *context)
{
    ((struct source *)context)->closed++;
}

static struct http_shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Sends the stream on a connection that has received `head`; `text` gets everything that the client
 * gets. */
static bool stream_send(struct source *source, const struct http_head *head, char text[4096])
{
    static struct http_connection connection;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    shutdown(pair[1], SHUT_WR);
    connection = (struct http_connection){.shared = &shared,
                                          .phase = HTTP_RUNNING,
                                          .since_ms = http_clock_ms(),
                                          .stream.fd = pair[0]};
    connection.head.method = head->method;
    connection.head.has_minor_0 = connection.head.is_last = head->has_minor_0;
    http_stream_allow(&connection.stream, 1);
    struct reply reply = {0};
    reply_stream(&reply, "text/event-stream",
                 &(struct reply_stream){source_next, source_close, source});
    bool is_open = http_connection_reply(&connection, &reply, head->has_minor_0);
    reply_clear(&reply);
    assert_int_equal(source->closed, 1);
    close(pair[0]);
    ssize_t bytes = recv(pair[1], text, 4095, 0);
    assert_true(bytes > 0);
    text[bytes] = '\0';
    close(pair[1]);
    return is_open;
}

static const char *const pieces[] = {"one\n", "", "and two\n", NULL};
static const struct http_head get = {.method = "GET"};

static void expect_body(char *text, const char *field, const char *body)
{
    char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    assert_string_equal(end + 4, body);
    end[2] = '\0';
    assert_non_null(strstr(text, "\r\nContent-Type: text/event-stream\r\n"));
    assert_null(strstr(text, "Content-Length"));
    assert_non_null(strstr(text, field));
}

static const struct fixture fixture = {0}; /* none */

TEST(pieces_are_chunks)
{
    char text[4096];
    assert_true(stream_send(&(struct source){.pieces = pieces}, &get, text));
    expect_body(text, "\r\nTransfer-Encoding: chunked\r\n",
                "4\r\none\n\r\n8\r\nand two\n\r\n0\r\n\r\n");
}

TEST(old_clients_read_to_the_end)
{
    char text[4096];
    const struct http_head old = {.method = "GET", .has_minor_0 = true};
    assert_false(stream_send(&(struct source){.pieces = pieces}, &old, text));
    expect_body(text, "\r\nConnection: close\r\n", "one\nand two\n");
    assert_null(strstr(text, "Transfer-Encoding"));
}

TEST(head_has_no_body)
{
    char text[4096];
    assert_true(stream_send(&(struct source){.pieces = pieces},
                            &(struct http_head){.method = "HEAD"}, text));
    expect_body(text, "\r\nTransfer-Encoding: chunked\r\n", "");
}

TEST(failure_has_no_last_chunk)
{
    char text[4096];
    assert_false(stream_send(&(struct source){.pieces = pieces, .end = -EIO}, &get, text));
    expect_body(text, "\r\nTransfer-Encoding: chunked\r\n", "4\r\none\n\r\n8\r\nand two\n\r\n");
}

TEST(end_of_the_daemon_ends_a_stream)
{
    char text[4096];
    assert_false(stream_send(&(struct source){.pieces = pieces, .stops = &shared}, &get, text));
    expect_body(text, "\r\nTransfer-Encoding: chunked\r\n", "4\r\none\n\r\n");
    atomic_store(&shared.is_stopping, false);
}
