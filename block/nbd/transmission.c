/* SPDX-License-Identifier: Apache-2.0
 *
 * The transmission phase: requests in, replies out. On the connection's thread, which alone
 * receives and sends. Spec sections: "Transmission", "Ordering of messages and writes".
 *
 *      RECEIVING a lot --> EXECUTING every complete request, here or in the pool --+
 *           ^                                                                      |
 *           +------------ REPLYING with what is done here and in the pool <--------+
 *                                  |
 *                                  +--the client or the server ends--> ENDING
 *
 *   T1. Every reply that is ready is sent before the thread waits for input.
 *   T2. A connection that has ended has no request in the pool.
 *   T3. A connection has at most limits.tasks requests in the pool.
 *
 * Batch in, batch out: a client that keeps many requests under way costs one receive and one send
 * for all of them. Reads of what is in memory and plain writes that need nothing else are executed
 * here; whatever may wait goes to the pool and is answered when it is done, so that it holds up
 * nothing else: a write too that reads what it copies from below, or tables of its image, or has to
 * let a flush go first. Two exceptions, since a change of threads costs more than it gains: a
 * client that never has more than one request under way has nothing that could be held up
 * (LONE_STREAK); and what the pool cannot take is executed here.
 *
 * Such a client's next request comes within microseconds of the reply, sooner than this thread
 * could fall asleep and be woken. As long as that holds the thread watches the socket for SPIN_US
 * before it sleeps; one connection for two processors at a time, so that no work waits for it.
 *
 * What one connection can take is bounded: when limits.tasks or limits.task_bytes are reached, it
 * stops executing and receiving until the pool has done something and its reply is sent. A client
 * that reads no replies blocks this thread in its send, and no other. What all connections can take
 * is bounded by the budget (nbd/budget.h): room for a large request is made as soon as its header
 * is there, and for its task and its reply before it is executed; where there is none, the request
 * goes through the connection's own memory in pieces (nbd/pieces.c).
 *
 * A request that cannot be executed gets an error and the connection lives on. It ends when the
 * client disconnects, when what arrives can no longer be told apart into requests, or when the
 * server stops; in each case what is in the pool is finished and answered first. A flush covers all
 * writes that were acknowledged, since a write is acknowledged after it was executed.
 */
#include "block/nbd/transmission.h"

#include "base/log.h"
#include "base/monotonic.h"
#include "block/nbd/connection.h"
#include "block/nbd/pieces.h"
#include "block/nbd/read.h"
#include "block/nbd/reply.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>

enum {
    RECEIVE_BYTES = 256 << 10,
    SEND_BYTES = 256 << 10,
    SMALL_BYTES = 64 << 10, /* an unfinished request up to this size is moved to the front */
    LONE_STREAK = 8,        /* so many requests one by one: the client seems to work like that */
    SPIN_US = 50,
    LONE_BYTES = 4 << 20, /* of a slow request that is executed here at most: more may take long */
};

static_assert(RECEIVE_BYTES + SMALL_BYTES + sizeof(struct nbd_extended_request_be) +
                      NBD_PAYLOAD_BYTES_MAX <=
                  NBD_BUFFER_BYTES,
              "the largest WRITE fits behind what was received with its beginning");

static void transmission_assert_state(const struct nbd_connection *connection,
                                      enum nbd_transmission_state state)
{
    assert(connection->transmission == state && connection->session.device);
    assert(state != NBD_RECEIVING || nbd_buffer_length(&connection->out) == 0); /* T1 */
    assert(connection->queue.tasks <= connection->server->limits.tasks);        /* T3 */
    (void)connection;
    (void)state;
}

static void transmission_enter_state(struct nbd_connection *connection,
                                     enum nbd_transmission_state state)
{
    connection->transmission = state;
    transmission_assert_state(connection, state);
}

/* ---- replies ---- */

static int replies_send(struct nbd_connection *connection)
{
    if (nbd_buffer_length(&connection->out) == 0)
        return 0;
    return nbd_channel_send_buffer(&connection->channel, &connection->out, NBD_NO_DEADLINE);
}

/* Makes room for a reply of `length` bytes: sends first if the batch would grow too large. */
static int replies_make_room(struct nbd_connection *connection, size_t length)
{
    size_t waiting = nbd_buffer_length(&connection->out);
    return waiting > 0 && waiting + length > SEND_BYTES ? replies_send(connection) : 0;
}

static int reply_task(struct nbd_connection *connection, const struct nbd_task *task)
{
    int ret = replies_make_room(connection, task->reply_bytes);
    if (ret)
        return ret;
    if (task->reply_bytes > SMALL_BYTES)
        return nbd_channel_write(&connection->channel, task->reply, task->reply_bytes,
                                 NBD_NO_DEADLINE);
    nbd_buffer_append(&connection->out, task->reply, task->reply_bytes);
    return 0;
}

/* Adds the replies of all that the pool has done by now. */
static int connection_collect(struct nbd_connection *connection)
{
    struct nbd_task *task = nbd_queue_collect(&connection->queue, &connection->server->pool);
    int ret = 0;
    while (task) {
        struct nbd_task *next = task->next;
        if (!ret)
            ret = reply_task(connection, task);
        nbd_queue_free_task(&connection->queue, task);
        task = next;
    }
    return ret;
}

/* Waits until the pool has done something more, then collects it. */
static int connection_await_pool(struct nbd_connection *connection)
{
    int ret = replies_send(connection);
    struct pollfd done = {.fd = connection->queue.wake_fd, .events = POLLIN};
    while (poll(&done, 1, -1) < 0)
        ;
    int collected = connection_collect(connection);
    return ret ? ret : collected;
}

/* Nothing of the connection is left in the pool afterwards, whatever happens to the replies. */
static int connection_finish_tasks(struct nbd_connection *connection)
{
    int ret = 0;
    while (connection->queue.tasks) {
        int got = connection_await_pool(connection);
        ret = ret ? ret : got;
    }
    int sent = replies_send(connection);
    return ret ? ret : sent;
}

/* ---- one request ---- */

static void connection_refuse(struct nbd_connection *connection, const struct nbd_request *request,
                              int error)
{
    const struct nbd_session *session = &connection->session;
    void *reply = nbd_buffer_space(&connection->out, nbd_request_reply_bytes(session, NULL));
    nbd_buffer_extend(&connection->out, nbd_reply_plain(session, request, error, reply));
}

/* Executes a request here. False: there is no memory for its reply, or, with `cached`, it would
 * have had to wait. */
static bool connection_run_now(struct nbd_connection *connection, const struct nbd_request *request,
                               const void *payload, bool cached)
{
    const struct nbd_session *session = &connection->session;
    if (nbd_buffer_length(&connection->out) == 0)
        nbd_buffer_skip(&connection->out, NBD_DATA_ALIGNMENT - nbd_read_data_offset(session));
    size_t most = nbd_request_reply_bytes(session, request);
    if (!nbd_buffer_make_room(&connection->out, most))
        return false;
    void *reply = nbd_buffer_space(&connection->out, most);
    size_t length = nbd_request_execute(session, request, payload, reply, cached);
    nbd_buffer_extend(&connection->out, length);
    if (nbd_buffer_length(&connection->out) == 0)
        nbd_buffer_consume(&connection->out, 0); /* its task needs the memory */
    return length > 0;
}

/* Hands a request to the pool, once there is room for it. */
static int connection_submit(struct nbd_connection *connection, const struct nbd_request *request,
                             const void *payload)
{
    const struct nbd_limits *limits = &connection->server->limits;
    struct nbd_queue *queue = &connection->queue;
    size_t bytes = nbd_task_bytes(&connection->session, request);
    while (queue->tasks &&
           (queue->tasks >= limits->tasks || queue->task_bytes + bytes > limits->task_bytes ||
            !nbd_queue_make_room(queue, bytes))) {
        int ret = connection_await_pool(connection);
        if (ret)
            return ret;
    }
    if (nbd_queue_make_room(queue, bytes) &&
        nbd_queue_submit(queue, &connection->server->pool, &connection->session, request,
                         payload) == 0)
        return 0;
    int ret = replies_send(connection); /* no finished request waits for a slow one */
    if (ret || connection_run_now(connection, request, payload, false))
        return ret;
    return nbd_read_in_pieces(connection, request);
}

/* Whether nothing else is under way or waiting here once `rest` bytes of input are left. */
static bool connection_is_lone(const struct nbd_connection *connection, size_t rest)
{
    return rest == 0 && connection->queue.tasks == 0 && nbd_buffer_length(&connection->out) == 0;
}

/* Executes a slow request here if it is a lone client's, then looks whether it has held something
 * up. False: it is not executed. */
static bool connection_execute_lone(struct nbd_connection *connection,
                                    const struct nbd_request *request, const void *payload)
{
    int arrived = 0;
    /* The steps of BLOCK_STATUS are bounded, whatever its length. */
    bool is_long = request->length > LONE_BYTES && request->type != NBD_CMD_BLOCK_STATUS;
    if (connection->lone_streak <= LONE_STREAK || is_long ||
        !connection_run_now(connection, request, payload, false))
        return false;
    if (ioctl(connection->channel.socket.fd, FIONREAD, &arrived) != 0 || arrived > 0)
        connection->lone_streak = 0;
    return true;
}

/* Answers one request, or hands it to the pool. `rest`: how much input follows it. Nonzero if the
 * connection is to end. */
static int connection_run_request(struct nbd_connection *connection, struct nbd_request *request,
                                  const void *payload, size_t rest)
{
    bool lone = connection_is_lone(connection, rest);
    connection->lone_streak = lone ? connection->lone_streak + 1 : 0;
    int error = nbd_request_check(&connection->session, request, payload);
    int ret = replies_make_room(connection,
                                error ? NBD_CHUNK_BYTES_MAX
                                      : nbd_request_reply_bytes(&connection->session, request));
    if (ret)
        return ret;
    if (error) {
        connection_refuse(connection, request, error);
        return 0;
    }
    if (!nbd_request_is_slow(request) && connection_run_now(connection, request, payload, true))
        return 0;
    if (connection_execute_lone(connection, request, payload))
        return 0;
    return connection_submit(connection, request, payload);
}

/* A WRITE with a payload that no server need take: refused, and not waited for. */
static int connection_refuse_payload(struct nbd_connection *connection,
                                     const struct nbd_request *request)
{
    log_warning("NBD connection closed: a payload of %llu bytes is over the limit of %u",
                (unsigned long long)request->payload_bytes, NBD_PAYLOAD_BYTES_MAX);
    int ret = connection_finish_tasks(connection);
    if (ret)
        return ret;
    connection_refuse(connection, request, -EINVAL);
    if (replies_send(connection) == 0)
        nbd_channel_linger(&connection->channel,
                           nbd_deadline(connection->server->limits.linger_ms));
    return -EMSGSIZE;
}

/* ---- the phase ---- */

/* Runs the request at the head of the input, which is complete, and takes it off. */
static int connection_run_head(struct nbd_connection *connection, struct nbd_request *request)
{
    struct nbd_buffer *in = &connection->in;
    size_t header_bytes = nbd_request_header_bytes(&connection->session);
    if (request->type == NBD_CMD_DISC)
        return -ESHUTDOWN;
    if (request->payload_bytes > NBD_PAYLOAD_BYTES_MAX)
        return connection_refuse_payload(connection, request);
    const unsigned char *payload = nbd_buffer_head(in) + header_bytes;
    size_t whole = header_bytes + request->payload_bytes;
    int ret = connection_run_request(connection, request, payload, nbd_buffer_length(in) - whole);
    if (!ret)
        nbd_buffer_consume(in, whole);
    return ret;
}

/* Whether the rest of the next request fits. */
static bool input_make_room(struct nbd_buffer *in, size_t missing)
{
    if (missing > nbd_buffer_room(in))
        nbd_buffer_compact(in);
    return nbd_buffer_make_room(in, missing);
}

/* The rest of the request at the head did not fit: lets what this connection has in the pool go
 * first; if it still does not fit after that, it is run in pieces. */
static int connection_run_in_pieces(struct nbd_connection *connection,
                                    const struct nbd_request *request, size_t missing)
{
    int ret = connection_finish_tasks(connection);
    connection->lone_streak = 0;
    if (ret || input_make_room(&connection->in, missing))
        return ret;
    return nbd_write_in_pieces(connection, request);
}

/* Runs every complete request that has arrived. 0: *missing bytes of the next one, which fit, are
 * still to come. */
static int connection_run_received(struct nbd_connection *connection, size_t *missing)
{
    struct nbd_buffer *in = &connection->in;
    int ret = 0;
    while (!ret) {
        struct nbd_request request;
        enum nbd_head head = nbd_request_decode(&connection->session, in, &request, missing);
        if (head == NBD_HEAD_GARBAGE) {
            log_warning("NBD connection closed: the client sent no valid request");
            return -EPROTO;
        }
        if (head == NBD_HEAD_PARTIAL && input_make_room(in, *missing))
            return 0;
        ret = head == NBD_HEAD_COMPLETE ? connection_run_head(connection, &request)
                                        : connection_run_in_pieces(connection, &request, *missing);
    }
    return ret;
}

/* Waits for input or for the pool. 0: there is, or may be, something of either. */
static int connection_wait(struct nbd_connection *connection)
{
    struct pollfd events[] = {{.fd = connection->channel.socket.fd, .events = POLLIN},
                              {.fd = connection->queue.wake_fd, .events = POLLIN}};
    return poll(events, 2, -1) < 0 && errno != EINTR ? -errno : 0;
}

/* Watches the socket until something comes or SPIN_US are over: -EAGAIN. */
static ssize_t connection_spin(struct nbd_connection *connection, uint64_t begun_us)
{
    struct nbd_server *server = connection->server;
    struct nbd_buffer *in = &connection->in;
    ssize_t got = -EAGAIN;
    if (atomic_fetch_add(&server->spinning, 1) < server->spinning_max)
        while (got == -EAGAIN && clock_monotonic_us() - begun_us < SPIN_US)
            got = nbd_channel_receive(&connection->channel, in->bytes + in->end, RECEIVE_BYTES,
                                      NBD_WAIT_NOT);
    atomic_fetch_sub(&server->spinning, 1);
    return got;
}

/* Waits for the next request of a client that works one by one. */
static ssize_t connection_receive_lone(struct nbd_connection *connection)
{
    struct nbd_buffer *in = &connection->in;
    uint64_t begun_us = clock_monotonic_us();
    ssize_t got = connection->spins ? connection_spin(connection, begun_us) : -EAGAIN;
    if (got != -EAGAIN)
        return got;
    got = nbd_channel_receive(&connection->channel, in->bytes + in->end, RECEIVE_BYTES,
                              NBD_WAIT_SOME);
    connection->spins = clock_monotonic_us() - begun_us < SPIN_US;
    return got;
}

/* Receives more input, or waits until there is or the pool has done something: for the whole rest
 * of a large request and not a byte more, so that the buffer is empty after it; else for whatever
 * comes. Once the server stops, only what has arrived by then is still received. */
static int connection_receive(struct nbd_connection *connection, size_t missing)
{
    struct nbd_buffer *in = &connection->in;
    transmission_enter_state(connection, NBD_RECEIVING);
    if (nbd_buffer_length(in) <= SMALL_BYTES)
        nbd_buffer_compact(in);
    bool large = missing > SMALL_BYTES || nbd_buffer_length(in) > SMALL_BYTES;
    enum nbd_wait wait = large ? NBD_WAIT_ALL : NBD_WAIT_SOME;
    if (connection->queue.tasks)
        wait = NBD_WAIT_NOT;
    if (atomic_load(&connection->stop.begun))
        nbd_socket_drain(&connection->channel.socket);
    ssize_t got = wait == NBD_WAIT_SOME && connection->lone_streak > LONE_STREAK
                      ? connection_receive_lone(connection)
                      : nbd_channel_receive(&connection->channel, in->bytes + in->end,
                                            large ? missing : RECEIVE_BYTES, wait);
    if (got == -EAGAIN && wait == NBD_WAIT_NOT)
        return connection_wait(connection);
    if (got < 0)
        return (int)got;
    nbd_buffer_extend(in, (size_t)got);
    return 0;
}

void nbd_transmission(struct nbd_connection *connection)
{
    int ret = 0;
    while (!ret) {
        size_t missing = 0;
        transmission_enter_state(connection, NBD_EXECUTING);
        ret = connection_run_received(connection, &missing);
        transmission_enter_state(connection, NBD_REPLYING);
        int sent = connection_collect(connection);
        if (!sent)
            sent = replies_send(connection);
        if (!ret)
            ret = sent ? sent : connection_receive(connection, missing);
    }
    transmission_enter_state(connection, NBD_ENDING);
    connection_finish_tasks(connection);
    assert(connection->queue.tasks == 0); /* T2 */
    if (connection->channel.socket.draining)
        nbd_channel_linger(&connection->channel,
                           nbd_deadline(connection->server->limits.linger_ms));
}
