/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD server under test, the probe driver, and the raw client. See nbd-peer.h.
 */
#include "tests/lib/nbd-peer.h"

#include "block/nbd/server.h"

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

/* ---- the server ---- */

void nbd_place_open(struct nbd_place *place)
{
    struct err err;
    *place = (struct nbd_place){.block = block_open(scratch_dir(), &err)};
    assert_non_null(place->block);
    place->server = nbd_server_new(place->block);
    assert_non_null(place->server);
}

void nbd_place_listen(struct nbd_place *place)
{
    struct err err;
    char address[300];
    snprintf(address, sizeof(address), "unix:%s/nbd.sock", scratch_dir());
    if (nbd_server_listen(place->server, address, &err) != 0)
        fail_msg("%s", err.message);
    place->address = nbd_server_address(place->server, 0);
    assert_string_equal(place->address, address);
}

void nbd_place_set_tls(struct nbd_place *place, const struct nbd_tls_spec *spec)
{
    struct err err;
    if (nbd_server_set_tls(place->server, spec, &err) != 0)
        fail_msg("%s", err.message);
}

void nbd_place_close(struct nbd_place *place)
{
    struct err err;
    if (place->server)
        nbd_server_free(place->server);
    if (block_close(place->block, &err) != 0)
        fail_msg("%s", err.message);
    shell("rm -f *.raw");
}

void nbd_place_add(struct nbd_place *place, const char *name, uint64_t size_bytes, bool read_only)
{
    shell("truncate -s %" PRIu64 " %s.raw", size_bytes, name);
    nbd_place_attach(place, name, "raw", read_only);
}

void nbd_place_attach(struct nbd_place *place, const char *name, const char *format, bool read_only)
{
    struct err err;
    char image[100];
    snprintf(image, sizeof(image), "%s.raw", name);
    struct device_spec spec = {
        .name = name, .image = image, .format = format, .read_only = read_only};
    if (block_device_open(place->block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(place->block, name);
}

unsigned nbd_place_clients(struct nbd_place *place, const char *name)
{
    struct err err;
    struct device_info info;
    assert_int_equal(block_device_info(place->block, name, &info, &err), 0);
    unsigned clients = info.clients;
    device_info_clear(&info);
    return clients;
}

void nbd_place_wait_until_left(struct nbd_place *place, const char *name)
{
    for (int i = 0; i < PEER_WAIT_S * 1000 && nbd_place_clients(place, name); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(nbd_place_clients(place, name), 0);
}

void wait_until_at_least(const atomic_uint *flag, unsigned value)
{
    for (int i = 0; i < PEER_WAIT_S * 1000 && atomic_load(flag) < value; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(atomic_load(flag) >= value);
}

/* ---- the probe ---- */

struct probe probe = {.mapped_from = UINT64_MAX, .broken_from = UINT64_MAX};

/* Waits while `*hold` is set; counts whoever comes to wait. */
static void probe_wait(const atomic_bool *hold, atomic_uint *held)
{
    if (atomic_load(hold))
        atomic_fetch_add(held, 1);
    while (atomic_load(hold))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* All data, and only the probe's read() can tell what they are: so every read comes by. */
static int probe_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    uint64_t mapped_from = atomic_load(&probe.mapped_from);
    if (offset < mapped_from && extent->length > mapped_from - offset)
        extent->length = mapped_from - offset;
    int ret = driver_raw.map(node, offset, flags, extent);
    if (extent->kind == EXTENT_DATA && offset < mapped_from)
        extent->host = EXTENT_NO_HOST;
    return ret;
}

static int probe_read(struct node *node, void *buf, uint64_t offset, uint64_t length)
{
    int error = atomic_load(&probe.error);
    probe_wait(&probe.hold_reads, &probe.held_reads);
    if (offset + length > atomic_load(&probe.broken_from))
        return -EIO;
    return error ? error : file_read_padded(node->fd, buf, offset, length);
}

static int probe_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                       unsigned flags)
{
    int error = atomic_load(&probe.error);
    if (flags & WRITE_CACHED && atomic_load(&probe.hold) && !atomic_load(&probe.holds_connection))
        return -EAGAIN;
    probe_wait(&probe.hold, &probe.held);
    return error ? error : driver_raw.write(node, buf, offset, length, flags);
}

static int probe_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    int error = atomic_load(flags & ZERO_FAST ? &probe.zero_fast_error : &probe.error);
    if (flags & ZERO_DISCARD) {
        atomic_store(&probe.discarded_bytes, length);
    } else if (!(flags & ZERO_FAST)) {
        atomic_store(&probe.zeroed_bytes, length);
        atomic_store(&probe.unmapped, flags & ZERO_UNMAP);
        flags |= ZERO_UNMAP;
    }
    return error ? error : driver_raw.zero(node, offset, length, flags);
}

static int probe_flush(struct node *node)
{
    atomic_fetch_add(&probe.flushes, 1);
    probe_wait(&probe.hold_flushes, &probe.held_flushes);
    return driver_raw.flush(node);
}

void probe_register(void)
{
    static struct driver driver;
    driver = driver_raw;
    driver.name = "probe";
    driver.map = probe_map;
    driver.read = probe_read;
    driver.write = probe_write;
    driver.zero = probe_zero;
    driver.flush = probe_flush;
    driver_register(&driver);
}

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

void bytes_add_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                       uint64_t offset, uint32_t length)
{
    bytes_add_number(bytes, 4, 0x25609513);
    bytes_add_number(bytes, 2, flags);
    bytes_add_number(bytes, 2, type);
    bytes_add_number(bytes, 8, cookie);
    bytes_add_number(bytes, 8, offset);
    bytes_add_number(bytes, 4, length);
}

void bytes_add_extended_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                                uint64_t offset, uint64_t length)
{
    bytes_add_number(bytes, 4, 0x21e41c71);
    bytes_add_number(bytes, 2, flags);
    bytes_add_number(bytes, 2, type);
    bytes_add_number(bytes, 8, cookie);
    bytes_add_number(bytes, 8, offset);
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
    peer_send_bytes(fd, &bytes);
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

int peer_open(const char *address, const char *name)
{
    struct bytes bytes = {.length = 0};
    int fd = peer_greet(address, 3);
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 12);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 14);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_ACK, NULL, 0), 0);
    return fd;
}

int peer_open_with(const char *address, const char *name, uint32_t option, uint32_t ids[2])
{
    static const char *const contexts[] = {"base:allocation", "qemu:allocation-depth", NULL};
    struct bytes bytes = {.length = 0};
    char context[64];
    int fd = peer_greet(address, 3);
    bytes_add_option(&bytes, option, NULL, 0);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, option, REP_ACK, NULL, 0), 0);
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
    bytes_add_go(&bytes, OPT_GO, name, 0, NULL);
    peer_send_bytes(fd, &bytes);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 12);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_INFO, NULL, 0), 14);
    assert_int_equal(peer_option_reply(fd, OPT_GO, REP_ACK, NULL, 0), 0);
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
