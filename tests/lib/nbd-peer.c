/* SPDX-License-Identifier: Apache-2.0
 *
 * See nbd-peer.h.
 */
#include "tests/lib/nbd-peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

/* ---- bytes ---- */

void bytes_add(struct bytes *bytes, const void *data, size_t length)
{
    bytes->at = realloc(bytes->at, bytes->length + length + 1);
    assert_non_null(bytes->at);
    if (length)
        memcpy(bytes->at + bytes->length, data, length);
    bytes->length += length;
}

void bytes_add_number(struct bytes *bytes, unsigned width, uint64_t value)
{
    unsigned char text[8];
    for (unsigned i = width; i-- > 0; value >>= 8)
        text[i] = (unsigned char)value;
    bytes_add(bytes, text, width);
}

void bytes_clear(struct bytes *bytes)
{
    free(bytes->at);
    *bytes = (struct bytes){.length = 0};
}

void bytes_add_option(struct bytes *bytes, uint32_t option, const void *data, uint32_t length)
{
    bytes_add(bytes, "IHAVEOPT", 8);
    bytes_add_number(bytes, 4, option);
    bytes_add_number(bytes, 4, length);
    bytes_add(bytes, data, length);
}

void bytes_add_go(struct bytes *bytes, uint32_t option, const char *name, unsigned count,
                  const uint16_t *requests)
{
    struct bytes payload = {.length = 0};
    bytes_add_number(&payload, 4, strlen(name));
    bytes_add(&payload, name, strlen(name));
    bytes_add_number(&payload, 2, count);
    for (unsigned i = 0; i < count; i++)
        bytes_add_number(&payload, 2, requests[i]);
    bytes_add_option(bytes, option, payload.at, (uint32_t)payload.length);
    bytes_clear(&payload);
}

static void bytes_add_header(struct bytes *bytes, uint32_t magic, unsigned flags, unsigned type,
                             uint64_t cookie, uint64_t offset)
{
    bytes_add_number(bytes, 4, magic);
    bytes_add_number(bytes, 2, flags);
    bytes_add_number(bytes, 2, type);
    bytes_add_number(bytes, 8, cookie);
    bytes_add_number(bytes, 8, offset);
}

void bytes_add_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                       uint64_t offset, uint32_t length)
{
    bytes_add_header(bytes, 0x25609513, flags, type, cookie, offset);
    bytes_add_number(bytes, 4, length);
}

void bytes_add_extended_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                                uint64_t offset, uint64_t length)
{
    bytes_add_header(bytes, 0x21e41c71, flags, type, cookie, offset);
    bytes_add_number(bytes, 8, length);
}

void bytes_add_meta(struct bytes *bytes, uint32_t option, const char *name,
                    const char *const *queries)
{
    struct bytes payload = {.length = 0};
    uint32_t count = 0;
    while (queries[count])
        count++;
    bytes_add_number(&payload, 4, strlen(name));
    bytes_add(&payload, name, strlen(name));
    bytes_add_number(&payload, 4, count);
    for (; *queries; queries++) {
        bytes_add_number(&payload, 4, strlen(*queries));
        bytes_add(&payload, *queries, strlen(*queries));
    }
    bytes_add_option(bytes, option, payload.at, (uint32_t)payload.length);
    bytes_clear(&payload);
}

/* ---- the client ---- */

int peer_connect(const char *address)
{
    struct timeval wait = {.tv_sec = PEER_WAIT_S};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const char *port = strrchr(address, ':') + 1;
    struct sockaddr *where = (struct sockaddr *)&v4;
    socklen_t length = sizeof(v4);
    v4.sin_port = v6.sin6_port = htons((uint16_t)atoi(port));
    if (strncmp(address, "unix:", 5) == 0) {
        strncpy(path.sun_path, address + 5, sizeof(path.sun_path) - 1);
        where = (struct sockaddr *)&path;
        length = sizeof(path);
    } else if (address[0] == '[') {
        where = (struct sockaddr *)&v6;
        length = sizeof(v6);
    }
    int fd = socket(where->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    if (connect(fd, where, length) == 0)
        return fd;
    close(fd);
    return -1;
}

void peer_send(int fd, const void *data, size_t length)
{
    for (const unsigned char *at = data; length > 0;) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent < 0)
            fail_msg("sending to the server: %s", strerror(errno));
        at += sent;
        length -= (size_t)sent;
    }
}

void peer_send_bytes(int fd, struct bytes *bytes)
{
    peer_send(fd, bytes->at, bytes->length);
    bytes_clear(bytes);
}

void peer_receive(int fd, void *data, size_t length)
{
    ssize_t got = length ? recv(fd, data, length, MSG_WAITALL) : 0;
    if (got != (ssize_t)length)
        fail_msg("%zd of %zu bytes received: %s", got, length,
                 got < 0 ? strerror(errno) : "the server hung up");
}

uint64_t peer_receive_number(int fd, unsigned width)
{
    unsigned char bytes[8];
    uint64_t value = 0;
    peer_receive(fd, bytes, width);
    for (unsigned i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

void peer_must_be_closed(int fd)
{
    unsigned char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    if (got > 0)
        fail_msg("the server sends (%#x) where it should hang up", byte);
    if (got < 0 && errno != ECONNRESET)
        fail_msg("the server does not hang up: %s", strerror(errno));
    close(fd);
}

int peer_greet(const char *address, uint32_t client_flags)
{
    char magic[16];
    struct bytes bytes = {.length = 0};
    int fd = peer_connect(address);
    assert_true(fd >= 0);
    peer_receive(fd, magic, sizeof(magic));
    assert_memory_equal(magic, "NBDMAGICIHAVEOPT", 16);
    assert_int_equal(peer_receive_number(fd, 2), 3); /* fixed newstyle, no zeroes */
    bytes_add_number(&bytes, 4, client_flags);
    send(fd, bytes.at, bytes.length, MSG_NOSIGNAL);
    bytes_clear(&bytes);
    return fd;
}

size_t peer_option_reply(int fd, uint32_t option, uint32_t type, void *data, size_t room)
{
    char ignored[4096];
    assert_int_equal(peer_receive_number(fd, 8), 0x3e889045565a9);
    assert_int_equal(peer_receive_number(fd, 4), option);
    assert_int_equal(peer_receive_number(fd, 4), type);
    size_t length = peer_receive_number(fd, 4);
    if (!data) {
        data = ignored;
        room = sizeof(ignored);
    }
    assert_true(length <= room);
    peer_receive(fd, data, length);
    return length;
}

void peer_send_option(int fd, uint32_t option, const void *data, uint32_t length)
{
    struct bytes bytes = {.length = 0};
    bytes_add_option(&bytes, option, data, length);
    peer_send_bytes(fd, &bytes);
}

void peer_ask_option(int fd, uint32_t option, const void *data, uint32_t length, uint32_t type)
{
    peer_send_option(fd, option, data, length);
    peer_option_reply(fd, option, type, NULL, 0);
}

void peer_go(int fd, const char *name)
{
    struct bytes bytes = {.length = 0};
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 12);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 14);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_ACK, NULL, 0), 0);
}

int peer_open(const char *address, const char *name)
{
    int fd = peer_greet(address, 3);
    peer_go(fd, name);
    return fd;
}

int peer_open_with(const char *address, const char *name, uint32_t option, uint32_t ids[2])
{
    static const char *const contexts[] = {"base:allocation", "qemu:allocation-depth", NULL};
    struct bytes bytes = {.length = 0};
    char context[64];
    int fd = peer_greet(address, 3);
    peer_ask_option(fd, option, NULL, 0, REP_ACK);
    bytes_add_meta(&bytes, OPT_SET_META, name, contexts);
    peer_send_bytes(fd, &bytes);
    for (int i = 0; i < 2; i++) {
        size_t length =
            peer_option_reply(fd, OPT_SET_META, REP_META_CONTEXT, context, sizeof(context));
        assert_int_equal(length, 4 + strlen(contexts[i]));
        assert_memory_equal(context + 4, contexts[i], length - 4);
        ids[i] = ntohl(*(uint32_t *)(void *)context);
    }
    assert_int_equal(peer_option_reply(fd, OPT_SET_META, REP_ACK, NULL, 0), 0);
    peer_go(fd, name);
    return fd;
}

void peer_chunk(int fd, bool extended, struct chunk *chunk)
{
    assert_int_equal(peer_receive_number(fd, 4), extended ? 0x6e8a278c : 0x668e33ef);
    chunk->flags = (unsigned)peer_receive_number(fd, 2);
    chunk->type = (unsigned)peer_receive_number(fd, 2);
    chunk->cookie = peer_receive_number(fd, 8);
    chunk->offset = extended ? peer_receive_number(fd, 8) : 0;
    chunk->length = peer_receive_number(fd, extended ? 8 : 4);
    assert_true(chunk->flags <= 1 && chunk->length <= sizeof(chunk->payload));
    peer_receive(fd, chunk->payload, chunk->length);
}

uint64_t chunk_number(const struct chunk *chunk, size_t offset, unsigned width)
{
    uint64_t value = 0;
    assert_true(offset + width <= chunk->length);
    for (unsigned i = 0; i < width; i++)
        value = value << 8 | chunk->payload[offset + i];
    return value;
}

void peer_only_chunk(int fd, bool extended, uint64_t cookie, unsigned type, struct chunk *chunk)
{
    peer_chunk(fd, extended, chunk);
    assert_int_equal(chunk->type, type);
    assert_int_equal(chunk->flags, 1);
    assert_int_equal(chunk->cookie, cookie);
}

void peer_error_chunk(int fd, bool extended, uint64_t cookie, uint32_t error)
{
    CLEANUP_FREE struct chunk *chunk = malloc(sizeof(*chunk));
    peer_only_chunk(fd, extended, cookie, CHUNK_ERROR, chunk);
    assert_int_equal(chunk_number(chunk, 0, 4), error);
    assert_int_equal(chunk->length, 6 + chunk_number(chunk, 4, 2));
}

void peer_reply(int fd, uint64_t cookie, uint32_t error, void *data, size_t length)
{
    assert_int_equal(peer_receive_number(fd, 4), 0x67446698);
    assert_int_equal(peer_receive_number(fd, 4), error);
    assert_int_equal(peer_receive_number(fd, 8), cookie);
    if (!error)
        peer_receive(fd, data, length);
}

uint64_t peer_next_reply(int fd, uint32_t *error)
{
    assert_int_equal(peer_receive_number(fd, 4), 0x67446698);
    *error = (uint32_t)peer_receive_number(fd, 4);
    return peer_receive_number(fd, 8);
}

uint32_t peer_request(int fd, unsigned flags, unsigned type, uint64_t offset, uint32_t length,
                      void *data)
{
    static uint64_t cookie = 0xfedcba9876543210;
    struct bytes bytes = {.length = 0};
    bytes_add_request(&bytes, flags, type, ++cookie, offset, length);
    if (type == CMD_WRITE)
        bytes_add(&bytes, data, length);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_receive_number(fd, 4), 0x67446698);
    uint32_t error = (uint32_t)peer_receive_number(fd, 4);
    assert_int_equal(peer_receive_number(fd, 8), cookie);
    if (type == CMD_READ && !error)
        peer_receive(fd, data, length);
    return error;
}
