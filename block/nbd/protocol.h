/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands on the wire: the NBD protocol, fixed newstyle, with simple, structured or extended
 * replies. Source: "The NBD protocol" (NetworkBlockDevice/nbd, doc/proto.md); its sections are named
 * in quotes below. All numbers are big-endian.
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
#ifndef BLOCK_NBD_PROTOCOL_H
#define BLOCK_NBD_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#define NBD_MAGIC                  0x4e42444d41474943ULL /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC           0x49484156454f5054ULL /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC     0x0003e889045565a9ULL
#define NBD_REQUEST_MAGIC          0x25609513U
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71U
#define NBD_SIMPLE_REPLY_MAGIC     0x67446698U
#define NBD_CHUNK_MAGIC            0x668e33efU
#define NBD_EXTENDED_CHUNK_MAGIC   0x6e8a278cU

/* "Conventions": no string is longer. */
#define NBD_STRING_BYTES_MAX 4096

/* "Block size constraints": the payload that any server must take, and the most that this one does.
 */
#define NBD_PAYLOAD_BYTES_MAX     (32U << 20)
#define NBD_BLOCK_BYTES_MIN       1U
#define NBD_BLOCK_BYTES_PREFERRED 4096U

/* "Handshake flags" and "Client flags" share their bits. */
enum nbd_handshake_flags {
    NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
    NBD_FLAG_NO_ZEROES = 1 << 1,
};

/* "Transmission flags" */
enum nbd_transmission_flags {
    NBD_FLAG_HAS_FLAGS = 1 << 0,
    NBD_FLAG_READ_ONLY = 1 << 1,
    NBD_FLAG_SEND_FLUSH = 1 << 2,
    NBD_FLAG_SEND_FUA = 1 << 3,
    NBD_FLAG_SEND_TRIM = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
    NBD_FLAG_SEND_DF = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
    NBD_FLAG_SEND_CACHE = 1 << 10,
    NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
    NBD_FLAG_BLOCK_STAT_PAYLOAD = 1 << 12,
};

/* "Option types" */
enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11,
};

/* "Option reply types" */
#define NBD_REP_ACK                 1U
#define NBD_REP_SERVER              2U
#define NBD_REP_INFO                3U
#define NBD_REP_META_CONTEXT        4U
#define NBD_REP_ERR_UNSUP           (1U << 31 | 1)
#define NBD_REP_ERR_POLICY          (1U << 31 | 2)
#define NBD_REP_ERR_TLS_REQD        (1U << 31 | 5)
#define NBD_REP_ERR_INVALID         (1U << 31 | 3)
#define NBD_REP_ERR_UNKNOWN         (1U << 31 | 6)
#define NBD_REP_ERR_TOO_BIG         (1U << 31 | 9)
#define NBD_REP_ERR_EXT_HEADER_REQD (1U << 31 | 10)

/* Information types of NBD_REP_INFO */
enum nbd_info {
    NBD_INFO_EXPORT = 0,
    NBD_INFO_NAME = 1,
    NBD_INFO_DESCRIPTION = 2,
    NBD_INFO_BLOCK_SIZE = 3,
};

/* "Request types" and "Command flags" */
enum nbd_command {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
};
enum nbd_command_flags {
    NBD_CMD_FLAG_FUA = 1 << 0,
    NBD_CMD_FLAG_NO_HOLE = 1 << 1,
    NBD_CMD_FLAG_DF = 1 << 2,
    NBD_CMD_FLAG_REQ_ONE = 1 << 3,
    NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
    NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

/* "Structured reply flags" and "Structured reply types" */
#define NBD_REPLY_FLAG_DONE 1U
enum nbd_reply_type {
    NBD_REPLY_NONE = 0,
    NBD_REPLY_OFFSET_DATA = 1,
    NBD_REPLY_OFFSET_HOLE = 2,
    NBD_REPLY_BLOCK_STATUS = 5,
    NBD_REPLY_BLOCK_STATUS_EXT = 6,
    NBD_REPLY_ERROR = 1 << 15 | 1,
    NBD_REPLY_ERROR_OFFSET = 1 << 15 | 2,
};

/* "The `base:allocation` metadata context": its status */
enum nbd_allocation {
    NBD_STATE_HOLE = 1 << 0,
    NBD_STATE_ZERO = 1 << 1,
};

/* "Error values" */
enum nbd_error {
    NBD_SUCCESS = 0,
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

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
