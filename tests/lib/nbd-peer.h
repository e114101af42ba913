/* SPDX-License-Identifier: Apache-2.0
 *
 * A raw NBD client for tests of the NBD server, which nbd-fixture.h sets up. The numbers are those
 * of the NBD protocol's text, written down here once more on purpose: nothing of
 * block/nbd/protocol.h is used.
 *
 *     bytes       what is to be sent
 *     peer        a client's socket; whatever takes longer than PEER_WAIT_S fails the test
 *
 * Main thread only, but for the peer_ functions whose comment says otherwise.
 */
#ifndef TESTS_NBD_PEER_H
#define TESTS_NBD_PEER_H

#include "tests/lib/testlib.h"

enum { PEER_WAIT_S = 20 };

/* ---- bytes ---- */

struct bytes {
    unsigned char *at;
    size_t length;
};
void bytes_add(struct bytes *bytes, const void *data, size_t length);
void bytes_add_number(struct bytes *bytes, unsigned width, uint64_t value);
void bytes_clear(struct bytes *bytes);

/* Appends an option with its payload, a GO or INFO, a request's header. */
void bytes_add_option(struct bytes *bytes, uint32_t option, const void *data, uint32_t length);
void bytes_add_go(struct bytes *bytes, uint32_t option, const char *name, unsigned count,
                  const uint16_t *requests);
void bytes_add_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                       uint64_t offset, uint32_t length);

void bytes_add_extended_request(struct bytes *bytes, unsigned flags, unsigned type, uint64_t cookie,
                                uint64_t offset, uint64_t length);

/* Appends LIST_META_CONTEXT or SET_META_CONTEXT with these queries, which end with a NULL. */
void bytes_add_meta(struct bytes *bytes, uint32_t option, const char *name,
                    const char *const *queries);

/* ---- the client ---- */

/* Connects to "unix:PATH", "127.0.0.1:PORT" or "[::1]:PORT". Any thread; -1 if refused. */
int peer_connect(const char *address);

void peer_send(int fd, const void *data, size_t length);
void peer_send_bytes(int fd, struct bytes *bytes); /* and empties it */
void peer_receive(int fd, void *data, size_t length);
uint64_t peer_receive_number(int fd, unsigned width);

/* Expects the server to have hung up, with nothing more to read. */
void peer_must_be_closed(int fd);

/* Connects, expects the greeting, sends the client flags; the server may have hung up by then. */
int peer_greet(const char *address, uint32_t client_flags);

/* Receives a reply to `option` of type `type`; at most `room` bytes of data. Returns their number.
 */
size_t peer_option_reply(int fd, uint32_t option, uint32_t type, void *data, size_t room);

/* Sends the option, and expects a reply of this type. */
void peer_send_option(int fd, uint32_t option, const void *data, uint32_t length);
void peer_ask_option(int fd, uint32_t option, const void *data, uint32_t length, uint32_t type);

/* From options to the transmission phase of the export: GO and its replies. */
void peer_go(int fd, const char *name);

/* Connects and goes to the transmission phase of the export. */
int peer_open(const char *address, const char *name);

/* The same, with structured replies or extended headers negotiated (`option`), and both metadata
 * contexts, whose ids go to ids[0] (base:allocation) and ids[1]. */
int peer_open_with(const char *address, const char *name, uint32_t option, uint32_t ids[2]);

/* A chunk of a structured or extended reply. */
struct chunk {
    unsigned flags, type;
    uint64_t cookie, offset, length;
    unsigned char payload[1 << 20];
};
void peer_chunk(int fd, bool extended, struct chunk *chunk);

/* The number of `width` bytes at `offset` of its payload. */
uint64_t chunk_number(const struct chunk *chunk, size_t offset, unsigned width);

/* Receives a chunk that is all of a reply: of this type, or an error of this number. */
void peer_only_chunk(int fd, bool extended, uint64_t cookie, unsigned type, struct chunk *chunk);
void peer_error_chunk(int fd, bool extended, uint64_t cookie, uint32_t error);

/* Receives a simple reply for `cookie`, expects this error (0: success) and reads `length` bytes of
 * data. */
void peer_reply(int fd, uint64_t cookie, uint32_t error, void *data, size_t length);

/* Receives the header of the next simple reply, whosever it is. Returns its cookie. */
uint64_t peer_next_reply(int fd, uint32_t *error);

/* One request and its reply. For WRITE `data` is what to write; for READ where to read to. Returns
 * the error. */
uint32_t peer_request(int fd, unsigned flags, unsigned type, uint64_t offset, uint32_t length,
                      void *data);

enum { REP_ACK = 1, REP_SERVER = 2, REP_INFO = 3, REP_META_CONTEXT = 4 };
#define REP_ERR_UNSUP           0x80000001U
#define REP_ERR_POLICY          0x80000002U
#define REP_ERR_TLS_REQD        0x80000005U
#define REP_ERR_INVALID         0x80000003U
#define REP_ERR_UNKNOWN         0x80000006U
#define REP_ERR_TOO_BIG         0x80000009U
#define REP_ERR_EXT_HEADER_REQD 0x8000000aU
enum {
    OPT_EXPORT_NAME = 1,
    OPT_ABORT = 2,
    OPT_LIST = 3,
    OPT_STARTTLS = 5,
    OPT_INFO = 6,
    OPT_GO = 7,
    OPT_STRUCTURED = 8,
    OPT_LIST_META = 9,
    OPT_SET_META = 10,
    OPT_EXTENDED = 11
};
enum {
    CMD_READ,
    CMD_WRITE,
    CMD_DISC,
    CMD_FLUSH,
    CMD_TRIM,
    CMD_CACHE,
    CMD_WRITE_ZEROES,
    CMD_BLOCK_STATUS
};
enum { FUA = 1, NO_HOLE = 2, DF = 4, REQ_ONE = 8, FAST_ZERO = 16, PAYLOAD_LEN = 32 };
enum {
    CHUNK_NONE,
    CHUNK_DATA,
    CHUNK_HOLE,
    CHUNK_STATUS = 5,
    CHUNK_STATUS_EXT,
    CHUNK_ERROR = 0x8001,
    CHUNK_ERROR_OFFSET
};
enum {
    ERROR_PERM = 1,
    ERROR_IO = 5,
    ERROR_INVAL = 22,
    ERROR_NOSPC = 28,
    ERROR_OVERFLOW = 75,
    ERROR_NOTSUP = 95
};

#endif
