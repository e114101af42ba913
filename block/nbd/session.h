/* SPDX-License-Identifier: Apache-2.0
 *
 * The result of a handshake, and a request under it: the types that every part of the transmission
 * phase shares. A request's meaning depends on its bytes and on the session only, so any thread may
 * execute it.
 */
#ifndef BLOCK_NBD_SESSION_H
#define BLOCK_NBD_SESSION_H

#include "block/nbd/protocol.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;

/* How requests and replies look on the wire. */
enum nbd_style { NBD_STYLE_SIMPLE, NBD_STYLE_STRUCTURED, NBD_STYLE_EXTENDED };

/* The metadata contexts, by their ids on the wire. */
enum nbd_context {
    NBD_CONTEXT_ALLOCATION = 1, /* "base:allocation" */
    NBD_CONTEXT_DEPTH = 2,      /* "qemu:allocation-depth" */
    NBD_CONTEXT_CHANGED = 3,    /* "qemu:dirty-bitmap:GROUP": what has changed since that group */
    NBD_CONTEXT_LAST = NBD_CONTEXT_CHANGED,
};

/* How far the end of a connection, or of the server, has come. What is long looks at it between its
 * pieces. */
struct nbd_stop {
    atomic_bool begun;   /* no request begins that may take long, and one under way ends soon */
    atomic_bool cut_off; /* time is up: whatever is under way ends as soon as it can */
};

/* What the handshake has agreed on; does not change in the transmission phase. */
struct nbd_session {
    const struct nbd_stop *stop; /* the connection's; NULL: it never ends */
    struct device *device;       /* in use since NBD_OPT_GO or _EXPORT_NAME, or NULL */
    struct device *older;        /* likewise: that of NBD_CONTEXT_CHANGED; NULL: not selected */
    uint64_t size_bytes; /* of the device, as the client was told: it may have grown since */
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

/* The start of the data in a reply is aligned to this: copying is faster. */
enum { NBD_DATA_ALIGNMENT = 64 };

/* The most of a large request that is executed at a time when there is no memory for all of it. */
enum { NBD_PIECE_BYTES = 256 << 10 };

#endif
