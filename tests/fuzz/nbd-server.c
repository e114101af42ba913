/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: whatever a client sends, in whatever pieces, the NBD server answers with
 * well-formed replies, ends when the client is gone, and stays within memory.
 *
 *     input --> script --> client's bytes --> recv(), handshake, transmission, send() --> checked
 *
 * One execution is one connection, from the greeting to its end, with up to some tens of options
 * and requests. The server's own code runs on this thread; its system calls on the connection's
 * socket are replaced (the linker's --wrap), since a socket would cost more than all else. One
 * connection in sixteen has a pool of threads, for the others the pool is full and all is executed
 * here.
 *
 * The script is what makes inputs reach deep: each of its bytes chooses a message or a field,
 * mostly with sensible values, so that mutated scripts are conversations. Some inputs are sent as
 * they are. The disks (raw; qcow2 on qcow2; one read-only) are small files in a directory of
 * memory, and live on from one execution to the next.
 */
#include "tests/lib/fuzz.h"

#include "block/block.h"
#include "block/device/exports.h"
#include "block/format/qcow2/driver-qcow2.h"
#include "block/format/raw.h"
#include "block/nbd/connection.h"
#include "block/nbd/handshake.h"
#include "block/nbd/server.h"
#include "block/nbd/transmission.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { DISK_BYTES = 512 << 10, SENT_BYTES_MAX = 48 << 10, MESSAGES_MAX = 60, CHANNEL_FD = 1000000 };

static struct block *block;
static struct nbd_server *server;
static struct nbd_connection *connection;

/* ---- the client's bytes ---- */

static struct {
    unsigned char bytes[SENT_BYTES_MAX + 4096];
    size_t length, at;
    uint64_t random; /* in which pieces they come */
} sent;

static void emit(unsigned width, uint64_t value)
{
    if (sent.length + width > sizeof(sent.bytes))
        return;
    for (unsigned i = width; i-- > 0; value >>= 8)
        sent.bytes[sent.length + i] = (unsigned char)value;
    sent.length += width;
}

static void emit_fill(size_t length)
{
    size_t room = sent.length < SENT_BYTES_MAX ? SENT_BYTES_MAX - sent.length : 0;
    if (length > room)
        length = room;
    memset(sent.bytes + sent.length, (int)(length | 1), length);
    sent.length += length;
}

static void emit_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        emit(1, (unsigned char)text[i]);
}

/* ---- the script ---- */

struct script {
    const uint8_t *at, *end;
    unsigned style; /* what a client that follows the protocol would send by now */
};

static uint8_t take(struct script *script)
{
    return script->at < script->end ? *script->at++ : 0;
}

static uint64_t take_number(struct script *script, unsigned width)
{
    uint64_t value = 0;
    while (width--)
        value = value << 8 | take(script);
    return value;
}

static void emit_name(struct script *script)
{
    static const char *const names[] = {"raw",   "qcow2", "old",      "raw",
                                        "qcow2", "none",  "raw@none", ""};
    const char *name = names[take(script) % 8];
    emit(4, strlen(name));
    emit_text(name, strlen(name));
}

static void emit_queries(struct script *script)
{
    static const char *const queries[] = {
        "base:allocation", "qemu:allocation-depth", "base:", "qemu:", "qemu:dirty-bitmap:x", "",
        "x-y:z",           "base:allocation "};
    unsigned count = take(script) % 5;
    emit(4, count);
    for (unsigned i = 0; i < count; i++) {
        const char *query = queries[take(script) % 8];
        emit(4, strlen(query));
        emit_text(query, strlen(query));
    }
}

/* An option; its length is filled in, or is wrong. True: a sensible client goes on to
 * transmission. */
static bool emit_option(struct script *script)
{
    static const uint8_t options[] = {7, 7, 7, 6, 3, 8, 8, 11, 11, 9, 10, 10, 10, 1, 2, 5};
    unsigned choice = take(script);
    uint32_t option = choice < 240 ? options[choice % 16] : choice * 0x01010101U;
    emit_text("IHAVEOPT", 8);
    emit(4, option);
    size_t length_at = sent.length;
    emit(4, 0);
    if (option == 6 || option == 7) {
        unsigned extra = take(script);
        emit_name(script);
        emit(2, extra % 4);
        for (unsigned i = 0; i < extra % 4; i++)
            emit(2, i + extra / 4 % 3);
    } else if (option == 9 || option == 10) {
        emit_name(script);
        emit_queries(script);
    } else if (option == 1) {
        emit_text("raw", 3);
    } else if (choice >= 240) {
        emit_fill(take_number(script, 2) % 5000);
    }
    uint8_t twist = take(script);
    size_t length = sent.length - length_at - 4;
    if (twist >= 248)
        length += twist - 251U;
    if (sent.length + 4 <= sizeof(sent.bytes)) {
        size_t end = sent.length;
        sent.length = length_at;
        emit(4, length);
        sent.length = end;
    }
    if (option == 8 && script->style == 0)
        script->style = 1;
    if (option == 11)
        script->style = 2;
    return option == 7 || option == 1;
}

static uint64_t take_offset(struct script *script)
{
    uint8_t kind = take(script);
    if (kind < 128)
        return take_number(script, 2) * 8;
    if (kind < 192)
        return (uint64_t)DISK_BYTES - take(script);
    if (kind < 250)
        return take(script) << 12;
    return take_number(script, 8);
}

static uint64_t take_length(struct script *script)
{
    uint8_t kind = take(script);
    if (kind < 100)
        return take(script);
    if (kind < 160)
        return 512U << kind % 8;
    if (kind < 220)
        return take_number(script, 2);
    if (kind < 245)
        return take_number(script, 3) % (DISK_BYTES + 2);
    return take_number(script, kind < 250 ? 4 : 8);
}

static void emit_request(struct script *script)
{
    static const uint8_t types[] = {0, 0, 0, 1, 1, 1, 3, 4, 5, 6, 6, 7, 7, 7, 7, 0};
    unsigned choice = take(script), flags = take(script);
    unsigned type = choice < 250 ? types[choice % 16] : choice == 250 ? 2 : choice;
    uint64_t offset = take_offset(script), length = take_length(script);
    uint64_t payload = type == 1 ? length : 0;
    flags = flags < 100 ? 0 : flags < 220 ? 1U << flags % 6 : flags << 1;
    if (script->style == 2) {
        if (type == 1 && choice % 32 != 31)
            flags |= 32;
        if (type == 7 && (flags & 32)) {
            unsigned ids = take(script) % 4;
            payload = 8 + 4 * ids + (choice == 249);
        } else {
            payload = flags & 32 ? length : 0;
        }
    }
    emit(4, script->style == 2 ? 0x21e41c71 : 0x25609513);
    emit(2, flags);
    emit(2, type);
    emit(8, 0xc00c1e00 + choice);
    emit(8, type == 3 ? 0 : offset);
    emit(script->style == 2 ? 8 : 4, type == 3 ? 0 : type == 7 && payload ? payload : length);
    if (type == 7 && payload) {
        emit(8, length);
        for (unsigned id = 1; payload > 8; payload -= payload < 12 ? payload - 8 : 4)
            emit(4, id++);
    } else {
        emit_fill(payload);
    }
}

static void script_run(const uint8_t *data, size_t size)
{
    struct script script = {.at = data, .end = data + size};
    uint8_t first = take(&script);
    sent.length = sent.at = 0;
    if (first % 16 == 15) {
        memcpy(sent.bytes, script.at, size - 1 < SENT_BYTES_MAX ? size - 1 : SENT_BYTES_MAX);
        sent.length = size - 1 < SENT_BYTES_MAX ? size - 1 : SENT_BYTES_MAX;
        return;
    }
    bool transmission = false;
    emit(4, first % 16 == 14 ? first : 3 - (first % 16 == 13));
    for (int i = 0; i < MESSAGES_MAX && script.at < script.end; i++) {
        if (sent.length >= SENT_BYTES_MAX)
            return;
        if (transmission)
            emit_request(&script);
        else
            transmission = emit_option(&script);
    }
}

/* ---- the server's replies ---- */

static struct {
    unsigned char bytes[64]; /* the beginning of a chunk */
    size_t have;
    uint64_t skip; /* bytes of its payload that are still to come */
} reply;

static uint64_t load(const unsigned char *at, unsigned width)
{
    uint64_t value = 0;
    while (width--)
        value = value << 8 | *at++;
    return value;
}

/* A whole header of a chunk: what it says must be possible. */
static void chunk_check(bool extended)
{
    unsigned flags = (unsigned)load(reply.bytes + 4, 2), type = (unsigned)load(reply.bytes + 6, 2);
    uint64_t length = load(reply.bytes + (extended ? 24 : 16), extended ? 8 : 4);
    MUST(load(reply.bytes, 4) == (extended ? 0x6e8a278c : 0x668e33ef));
    MUST(flags <= 1);
    switch (type) {
    case 0:
        MUST(flags == 1 && length == 0);
        break;
    case 1:
        MUST(length > 8 && length <= 8 + (32 << 20));
        break;
    case 2:
        MUST(length == 12);
        break;
    case 5:
        MUST(!extended && length >= 12 && length % 8 == 4);
        break;
    case 6:
        MUST(extended && length >= 24 && length % 16 == 8);
        break;
    case 0x8001:
        MUST(length == 6);
        break;
    case 0x8002:
        MUST(length == 14);
        break;
    default:
        MUST(!"a known type");
    }
    reply.skip = length;
}

/* Simple replies cannot be told apart without the requests; all others can. */
static void replies_check(const unsigned char *bytes, size_t length)
{
    enum nbd_style style = connection->session.style;
    if (!connection->session.device || style == NBD_STYLE_SIMPLE)
        return;
    size_t header = style == NBD_STYLE_EXTENDED ? 32 : 20;
    while (length > 0) {
        size_t n = reply.skip < length ? reply.skip : length;
        reply.skip -= n;
        bytes += n;
        length -= n;
        for (; length > 0 && reply.have < header; length--)
            reply.bytes[reply.have++] = *bytes++;
        if (reply.have == header && length + reply.have > 0) {
            chunk_check(style == NBD_STYLE_EXTENDED);
            reply.have = 0;
        }
    }
}

/* ---- what the server calls ---- */

ssize_t __wrap_recv(int fd, void *buf, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t length, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_ioctl(int fd, unsigned long request, int *value);
int __wrap_ioctl(int fd, unsigned long request, int *value);
int __wrap_shutdown(int fd, int how);
void __wrap_log_warning(const char *format, ...);
int __wrap_nbd_queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                            const struct nbd_session *session, const struct nbd_request *request,
                            const void *payload);
int __real_nbd_queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                            const struct nbd_session *session, const struct nbd_request *request,
                            const void *payload);

static bool pool_is_full;
static bool handshake_replies; /* the last ones are under way when the device is in use already */

ssize_t __wrap_recv(int fd, void *buf, size_t length, int flags)
{
    MUST(fd == CHANNEL_FD);
    size_t left = sent.length - sent.at;
    if (length > left)
        length = left;
    if (!(flags & MSG_WAITALL) && length > 1 && draw(&sent.random, 2))
        length = 1 + draw(&sent.random, length);
    memcpy(buf, sent.bytes + sent.at, length);
    sent.at += length;
    return (ssize_t)length;
}

ssize_t __wrap_send(int fd, const void *buf, size_t length, int flags)
{
    MUST(fd == CHANNEL_FD && (flags & MSG_NOSIGNAL));
    if (!handshake_replies)
        replies_check(buf, length);
    return (ssize_t)length;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (fds[0].fd != CHANNEL_FD)
        return __real_poll(fds, count, timeout);
    fds[0].revents = fds[0].events;
    return 1;
}

int __wrap_ioctl(int fd, unsigned long request, int *value)
{
    if (fd != CHANNEL_FD)
        return __real_ioctl(fd, request, value);
    MUST(request == FIONREAD);
    *value = (int)(sent.length - sent.at);
    return 0;
}

int __wrap_shutdown(int fd, int how)
{
    MUST(fd == CHANNEL_FD && how == SHUT_WR);
    return 0;
}

void __wrap_log_warning(const char *format, ...)
{
    (void)format;
}

int __wrap_nbd_queue_submit(struct nbd_queue *queue, struct nbd_pool *pool,
                            const struct nbd_session *session, const struct nbd_request *request,
                            const void *payload)
{
    return pool_is_full ? -EAGAIN : __real_nbd_queue_submit(queue, pool, session, request, payload);
}

/* ---- the disks ---- */

static char directory[] = "/dev/shm/nbd-fuzz.XXXXXX";

static void directory_remove(void)
{
    static const char *const names[] = {"raw", "base", "qcow2", "old", ""};
    char path[100];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

static void disk_make(const char *name, const struct driver *driver, const char *backing)
{
    struct err err;
    char path[100];
    struct image_spec spec = {.size_bytes = DISK_BYTES,
                              .cluster_bytes = driver == &driver_qcow2 ? 4096 : 0,
                              .backing_file = backing,
                              .backing_format = backing ? "qcow2" : NULL};
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    MUST(fd >= 0 && driver->create(fd, &spec, &err) == 0);
    close(fd);
}

static void disk_serve(const char *name, const char *format, bool read_only)
{
    struct err err;
    struct device_spec spec = {
        .name = name, .image = name, .format = format, .read_only = read_only};
    if (block_device_open(block, &spec, &err) != 0) {
        fprintf(stderr, "%s: %s\n", name, err.message);
        abort();
    }
    block_device_export(block, name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err err;
    MUST(mkdtemp(directory) && chmod(directory, 0700) == 0);
    atexit(directory_remove);
    disk_make("raw", &driver_raw, NULL);
    disk_make("base", &driver_qcow2, NULL);
    disk_make("qcow2", &driver_qcow2, "base");
    disk_make("old", &driver_raw, NULL);
    block = block_open(directory, &err);
    MUST(block);
    disk_serve("raw", "raw", false);
    disk_serve("qcow2", "qcow2", false);
    disk_serve("old", "raw", true);
    server = nbd_server_new(block);
    MUST(server);
    server->limits.tasks = 5;
    connection = calloc(1, sizeof(*connection));
    MUST(connection && nbd_buffer_open(&connection->in, &server->budget) == 0 &&
         nbd_buffer_open(&connection->out, &server->budget) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    sent.random = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < size; i++) /* FNV-1a */
        sent.random = (sent.random ^ data[i]) * 0x100000001b3ULL;
    script_run(data, size);
    reply.have = reply.skip = 0;
    pool_is_full = data[0] / 16 != 0;
    handshake_replies = true;

    connection->server = server;
    connection->channel = (struct nbd_channel){.socket.fd = CHANNEL_FD};
    connection->session = (struct nbd_session){.device = NULL};
    connection->in.start = connection->in.end = connection->out.start = connection->out.end = 0;
    connection->lone_streak = 0;
    server->budget.limit_bytes = data[0] & 1 ? 1 << 30 : 0;
    nbd_queue_open(&connection->queue, &server->budget);
    if (nbd_handshake(connection) == 0) {
        handshake_replies = false;
        nbd_transmission(connection);
        MUST(connection->queue.tasks == 0 && reply.skip == 0 && reply.have == 0);
    }
    if (connection->session.device) {
        export_leave(block, connection->session.device, &connection->client);
        export_unuse(block, connection->session.device);
    }
    nbd_queue_close(&connection->queue);
    return 0;
}
