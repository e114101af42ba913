/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of the NBD protocol as they are on the wire (protocol.h names the source). All
 * numbers are big-endian.
 *
 *   struct                  bytes  fields and their bytes
 *   nbd_greeting_be            18  magic 8, option_magic 8, flags 2
 *   (client flags)              4  flags 4
 *   nbd_option_be              16  magic 8, option 4, length 4; `length` bytes follow
 *   nbd_option_reply_be        20  magic 8, option 4, type 4, length 4; `length` bytes follow
 *   nbd_export_be             134  size 8, flags 2, zeros 124 (none with NO_ZEROES)
 *   nbd_info_export_be         12  type 2, size 8, flags 2
 *   nbd_info_block_size_be     14  type 2, minimum 4, preferred 4, maximum 4
 *   nbd_request_be             28  magic 4, flags 2, type 2, cookie 8, offset 8, length 4; the
 *                                  data of a WRITE follow
 *   nbd_extended_request_be    32  the same with a length of 8; with PAYLOAD_LEN as many bytes
 *                                  follow
 *   nbd_simple_reply_be        16  magic 4, error 4, cookie 8; the data of a good READ follow
 *   nbd_chunk_be               20  magic 4, flags 2, type 2, cookie 8, length 4; `length` bytes
 *                                  follow
 *   nbd_extended_chunk_be      32  magic 4, flags 2, type 2, cookie 8, offset 8, length 8; the same
 *
 * A structured or extended reply is one chunk or more, the last one with NBD_REPLY_FLAG_DONE:
 *
 *   chunk's type             follows
 *   NBD_REPLY_NONE           nothing
 *   NBD_REPLY_OFFSET_DATA    offset 8, data
 *   NBD_REPLY_OFFSET_HOLE    offset 8, size 4
 *   NBD_REPLY_BLOCK_STATUS   context id 4, any number of (length 4, status 4)
 *   NBD_REPLY_BLOCK_STATUS_EXT  context id 4, count 4, `count` times (length 8, status 8)
 *   NBD_REPLY_ERROR          error 4, message length 2, message
 *   NBD_REPLY_ERROR_OFFSET   the same, offset 8
 *
 * The data of the options INFO and GO: name length 4, name, count 2, count times a type 2. Of
 * LIST_META_CONTEXT and SET_META_CONTEXT: name length 4, name, count 4, count times (query length
 * 4, query). Of a reply META_CONTEXT: id 4, name. The payload of a BLOCK_STATUS: length 8, ids 4.
 */
#ifndef BLOCK_NBD_MESSAGES_H
#define BLOCK_NBD_MESSAGES_H

#include <assert.h>
#include <stdint.h>

struct nbd_greeting_be {
    uint64_t magic, option_magic;
    uint16_t flags;
} __attribute__((packed));

struct nbd_option_be {
    uint64_t magic;
    uint32_t option, length;
} __attribute__((packed));

struct nbd_option_reply_be {
    uint64_t magic;
    uint32_t option, type, length;
} __attribute__((packed));

struct nbd_export_be {
    uint64_t size_bytes;
    uint16_t flags;
    unsigned char zeros[124];
} __attribute__((packed));

struct nbd_info_export_be {
    uint16_t type;
    uint64_t size_bytes;
    uint16_t flags;
} __attribute__((packed));

struct nbd_info_block_size_be {
    uint16_t type;
    uint32_t minimum, preferred, maximum;
} __attribute__((packed));

struct nbd_request_be {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
} __attribute__((packed));

struct nbd_extended_request_be {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset, length;
} __attribute__((packed));

struct nbd_simple_reply_be {
    uint32_t magic, error;
    uint64_t cookie;
} __attribute__((packed));

struct nbd_chunk_be {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie;
    uint32_t length;
} __attribute__((packed));

struct nbd_extended_chunk_be {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset, length;
} __attribute__((packed));

static_assert(sizeof(struct nbd_greeting_be) == 18, "greeting");
static_assert(sizeof(struct nbd_option_be) == 16, "option");
static_assert(sizeof(struct nbd_option_reply_be) == 20, "option reply");
static_assert(sizeof(struct nbd_export_be) == 134, "export");
static_assert(sizeof(struct nbd_info_export_be) == 12, "export information");
static_assert(sizeof(struct nbd_info_block_size_be) == 14, "block size information");
static_assert(sizeof(struct nbd_request_be) == 28, "request");
static_assert(sizeof(struct nbd_extended_request_be) == 32, "extended request");
static_assert(sizeof(struct nbd_simple_reply_be) == 16, "simple reply");
static_assert(sizeof(struct nbd_chunk_be) == 20, "chunk");
static_assert(sizeof(struct nbd_extended_chunk_be) == 32, "extended chunk");

#endif
