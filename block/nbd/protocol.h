/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of the NBD protocol, fixed newstyle, with simple, structured or extended replies.
 * Source: "The NBD protocol" (NetworkBlockDevice/nbd, doc/proto.md); its sections are named in
 * quotes below. messages.h has the layout of messages.
 */
#ifndef BLOCK_NBD_PROTOCOL_H
#define BLOCK_NBD_PROTOCOL_H

#include "block/limits.h"

#include <stdint.h>

#define NBD_MAGIC                  0x4e42444d41474943ULL /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC           0x49484156454f5054ULL /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC     0x0003e889045565a9ULL
#define NBD_REQUEST_MAGIC          0x25609513U
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71U
#define NBD_SIMPLE_REPLY_MAGIC     0x67446698U
#define NBD_CHUNK_MAGIC            0x668e33efU
#define NBD_EXTENDED_CHUNK_MAGIC   0x6e8a278cU

/* "Block size constraints" */
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
#define NBD_REP_ERR_SHUTDOWN        (1U << 31 | 7)
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

/* QEMU's docs/interop/nbd.txt, "qemu:dirty-bitmap" */
enum nbd_bitmap {
    NBD_STATE_DIRTY = 1 << 0,
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

#endif
