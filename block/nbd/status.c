/* SPDX-License-Identifier: Apache-2.0
 *
 * BLOCK_STATUS. Spec sections: "NBD_CMD_BLOCK_STATUS", "Metadata querying", "The
 * `base:allocation` metadata context"; for the contexts of "qemu:" QEMU's docs/interop/nbd.txt.
 *
 *     device_map     |--- depth 1, data ---|-- depth 2, data --|-- depth 0, hole, zero --|
 *     base           |------------ 0 --------------------------|---------- 3 ------------|
 *     depth          |--------- 1 ---------|-------- 2 --------|---------- 0 ------------|
 *     dirty-bitmap   |--------- 1 ---------|---------------------- 0 ---------------------|
 *
 * One walk over the device serves all contexts (the last one, which is of a frozen member and an
 * older one, has a walk of its own); each merges neighbours of the same status. The
 * reply ends where any context has enough extents, or when the walk has taken long enough: it may
 * tell of less than was asked for, and never tells of more.
 */
#include "block/nbd/status.h"

#include "block/io.h"
#include "block/nbd/reply.h"

#include <errno.h>
#include <string.h>

enum {
    EXTENTS_MAX = 2048, /* of one context in one reply */
    STEPS_MAX = 16384,  /* of one walk */
    EXTENT_BYTES = 8,   /* length and status; twice that with extended headers */
    STATUS_HEADER_BYTES = 4,
};

struct extents {
    unsigned char *payload; /* of the chunk under construction */
    size_t count, max;
    unsigned width; /* of a number */
    uint64_t length;
    uint32_t status; /* of the last one, which is not written yet */
};

int nbd_status_decode(const struct nbd_session *session, struct nbd_request *request,
                      const unsigned char *payload)
{
    uint64_t length = 0;
    const size_t context_bytes = 4;
    if (request->payload_bytes < sizeof(length) + context_bytes ||
        request->payload_bytes % context_bytes)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(length); i++)
        length = length << 8 | payload[i];
    request->length = length;
    request->contexts = 0;
    for (size_t at = sizeof(length); at < request->payload_bytes; at += context_bytes) {
        uint32_t id = 0;
        for (size_t i = 0; i < context_bytes; i++)
            id = id << 8 | payload[at + i];
        if (id > NBD_CONTEXT_LAST || !(session->contexts & 1U << id) ||
            (request->contexts & 1U << id))
            return -EINVAL;
        request->contexts |= 1U << id;
    }
    request->payload_bytes = 0;
    return 0;
}

static size_t status_extents_max(const struct nbd_request *request)
{
    if (request->flags & NBD_CMD_FLAG_REQ_ONE)
        return 1;
    return request->length < EXTENTS_MAX ? request->length : EXTENTS_MAX;
}

/* Of the chunk of one context. */
static size_t status_chunk_bytes(size_t extents_max)
{
    return NBD_CHUNK_BYTES_MAX + extents_max * 2 * EXTENT_BYTES;
}

size_t nbd_status_reply_bytes(const struct nbd_request *request)
{
    return (size_t)__builtin_popcount(request->contexts) *
           status_chunk_bytes(status_extents_max(request));
}

static void extents_write(const struct extents *extents)
{
    unsigned char *at = extents->payload + (extents->width == 8 ? 2 : 1) * STATUS_HEADER_BYTES;
    at += (extents->count - 1) * 2 * extents->width;
    nbd_put_be(nbd_put_be(at, extents->width, extents->length), extents->width, extents->status);
}

/* False if there is no room for one more. */
static bool extents_add(struct extents *extents, uint64_t length, uint32_t status)
{
    if (extents->count > 0 && extents->status == status) {
        extents->length += length;
    } else {
        if (extents->count == extents->max)
            return false;
        extents->count++;
        extents->length = length;
        extents->status = status;
    }
    extents_write(extents);
    return true;
}

/* A piece of the device, of one status in each context that is asked for. */
struct piece {
    struct device_extent extent; /* its length is the piece's */
    bool is_changed;
};

static uint32_t status_of(enum nbd_context context, const struct piece *piece)
{
    const struct device_extent *extent = &piece->extent;
    if (context == NBD_CONTEXT_DEPTH)
        return extent->depth;
    if (context == NBD_CONTEXT_CHANGED)
        return piece->is_changed ? NBD_STATE_DIRTY : 0;
    return (extent->is_hole ? NBD_STATE_HOLE : 0) | (extent->is_zero ? NBD_STATE_ZERO : 0);
}

static int piece_map(const struct nbd_session *session, const struct nbd_request *request,
                     uint64_t offset, struct piece *piece)
{
    const unsigned changed = 1U << NBD_CONTEXT_CHANGED;
    int ret = 0;
    if (request->contexts & ~changed)
        ret = device_map(session->device, offset, &piece->extent);
    if (ret || !(request->contexts & changed))
        return ret;
    struct device_difference difference = {.length = piece->extent.length};
    ret = device_map_since(session->device, session->older, offset, &difference);
    piece->extent.length = difference.length;
    piece->is_changed = difference.is_changed;
    return ret;
}

/* Walks the device as far as all contexts have room; *covered is how far that was. */
static int status_walk(const struct nbd_session *session, const struct nbd_request *request,
                       struct extents *extents, uint64_t *covered)
{
    bool room = true;
    for (int step = 0; step < STEPS_MAX && room && *covered < request->length; step++) {
        struct piece piece = {.extent.length = request->length - *covered};
        int ret = piece_map(session, request, request->offset + *covered, &piece);
        if (ret)
            return ret;
        struct extents before[NBD_CONTEXT_LAST + 1];
        memcpy(before, extents, sizeof(before));
        for (unsigned id = 1; id <= NBD_CONTEXT_LAST && room; id++)
            if (request->contexts & 1U << id)
                room = extents_add(&extents[id], piece.extent.length, status_of(id, &piece));
        if (room)
            *covered += piece.extent.length;
        else /* all contexts end at the same place */
            memcpy(extents, before, sizeof(before));
    }
    return 0;
}

/* Ends the chunk of one context: its payload is in place but for the beginning. */
static void status_add_chunk(struct nbd_chunks *chunks, unsigned id, const struct extents *extents)
{
    bool wide = extents->width == 8;
    size_t length = (wide ? 2 : 1) * STATUS_HEADER_BYTES + extents->count * 2 * extents->width;
    extents_write(extents);
    unsigned char *scratch = extents->payload;
    unsigned char *at =
        nbd_chunk_add(chunks, wide ? NBD_REPLY_BLOCK_STATUS_EXT : NBD_REPLY_BLOCK_STATUS, length);
    memmove(at, scratch, length);
    at = nbd_put_be(at, 4, id);
    if (wide)
        nbd_put_be(at, 4, extents->count);
}

size_t nbd_status(const struct nbd_session *session, const struct nbd_request *request,
                  unsigned char *reply)
{
    struct nbd_chunks chunks = {session, request, reply, reply, NULL};
    struct extents extents[NBD_CONTEXT_LAST + 1] = {0};
    size_t max = status_extents_max(request);
    uint64_t covered = 0;
    unsigned char *at = reply;
    for (unsigned id = 1; id <= NBD_CONTEXT_LAST; id++) {
        if (!(request->contexts & 1U << id))
            continue;
        extents[id].payload = at + nbd_chunk_header_bytes(session);
        extents[id].max = max;
        extents[id].width = session->style == NBD_STYLE_EXTENDED ? 8 : 4;
        at += status_chunk_bytes(max);
    }
    int ret = status_walk(session, request, extents, &covered);
    if (ret && !covered)
        return nbd_reply_plain(session, request, ret, reply);
    for (unsigned id = 1; id <= NBD_CONTEXT_LAST; id++)
        if (request->contexts & 1U << id)
            status_add_chunk(&chunks, id, &extents[id]);
    return nbd_chunks_end(&chunks);
}
