/* SPDX-License-Identifier: Apache-2.0
 *
 * One request of the transmission phase: taken from the wire, checked, executed, answered. What it
 * becomes depends on its bytes and on the session only, so any thread may execute it; the
 * connection's thread alone decides where that happens (nbd/transmission.c).
 *
 *     nbd/request.c   decode, check, execute
 *     nbd/read.c      READ, in one chunk or in several
 *     nbd/status.c    BLOCK_STATUS
 *     nbd/reply.c     what replies look like
 */
#ifndef BLOCK_NBD_REQUEST_H
#define BLOCK_NBD_REQUEST_H

#include "block/nbd/socket.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct device;

/* How requests and replies look on the wire. */
enum nbd_style { NBD_STYLE_SIMPLE, NBD_STYLE_STRUCTURED, NBD_STYLE_EXTENDED };

/* The metadata contexts, by their ids on the wire. */
enum nbd_context {
    NBD_CONTEXT_ALLOCATION = 1, /* "base:allocation" */
    NBD_CONTEXT_DEPTH = 2,      /* "qemu:allocation-depth" */
    NBD_CONTEXT_LAST = NBD_CONTEXT_DEPTH,
};

/* How far the server's end has come. What is long looks at it between its pieces. */
struct nbd_stop {
    atomic_bool begun;   /* no request begins that may take long, and one under way ends soon */
    atomic_bool cut_off; /* time is up: whatever is under way ends as soon as it can */
};

/* What the handshake has agreed on; does not change in the transmission phase. */
struct nbd_session {
    const struct nbd_stop *stop; /* the server's; NULL: it never ends */
    struct device *device;       /* in use since NBD_OPT_GO or _EXPORT_NAME, or NULL */
    enum nbd_style style;
    unsigned contexts; /* a set: bit ID for the context of that id */
};

struct nbd_request {
    uint16_t flags, type;
    uint64_t cookie_be; /* the client's own; goes back as it came */
    uint64_t offset, length;
    uint64_t payload_bytes; /* that follow the header */
    unsigned contexts;      /* BLOCK_STATUS: which are asked for */
};

static inline bool nbd_session_stops(const struct nbd_session *session)
{
    return session->stop && atomic_load_explicit(&session->stop->begun, memory_order_relaxed);
}

static inline bool nbd_session_is_cut_off(const struct nbd_session *session)
{
    return session->stop && atomic_load_explicit(&session->stop->cut_off, memory_order_relaxed);
}

/* What stands at the head of the input. */
enum nbd_head { NBD_HEAD_PARTIAL, NBD_HEAD_COMPLETE, NBD_HEAD_GARBAGE };

size_t nbd_request_header_bytes(const struct nbd_session *session);

/* Decodes the head of the input; *missing is how many bytes a partial request still lacks, as far
 * as is known. A payload over the limit is not waited for: such a request is complete. */
enum nbd_head nbd_request_decode(const struct nbd_session *session, const struct nbd_buffer *in,
                                 struct nbd_request *request, size_t *missing);

/* Whether the client asks for something that there is: 0 or -errno. Takes in what the payload says
 * about the request; afterwards payload_bytes counts data only. */
int nbd_request_check(const struct nbd_session *session, struct nbd_request *request,
                      const unsigned char *payload);

/* Whether executing it may take long whatever is in memory. */
bool nbd_request_is_slow(const struct nbd_request *request);

/* The most that its reply takes on the wire; of none (NULL), what any refusal takes. */
size_t nbd_request_reply_bytes(const struct nbd_session *session,
                               const struct nbd_request *request);

/* Where in the reply of a READ the data begin, if they are one piece. Copying is faster to where
 * they are aligned. */
size_t nbd_request_data_offset(const struct nbd_session *session);
enum { NBD_DATA_ALIGNMENT = 64 };

/* Executes a checked request and writes its reply, whether good or not, to `reply`. Returns the
 * reply's length. With `cached` it waits for no disk, for which the request must not be slow: then
 * 0 means that it would have had to, and nothing has happened. */
size_t nbd_request_execute(const struct nbd_session *session, const struct nbd_request *request,
                           const void *payload, unsigned char *reply, bool cached);

/* Executes a checked request whose reply has no data, and leaves the reply to the caller: 0 or
 * -errno. With `cached` as above: -EAGAIN. -ESHUTDOWN: the server stops, and part of the request may
 * have been executed. */
int nbd_request_run(const struct nbd_session *session, const struct nbd_request *request,
                    const void *payload, bool cached);

/* The most of a large request that is executed at a time when there is no memory for all of it. */
enum { NBD_PIECE_BYTES = 256 << 10 };

/* The next piece of a READ, of which *done bytes are answered: executes it, writes what the reply
 * has of it, and adds to *done. Returns the length; 0: an error that cannot be told any more. */
size_t nbd_read_piece(const struct nbd_session *session, const struct nbd_request *request,
                      uint64_t *done, unsigned char *reply);

#endif
