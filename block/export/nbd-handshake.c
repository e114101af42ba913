/* SPDX-License-Identifier: Apache-2.0
 *
 * The handshake: fixed newstyle negotiation, from the greeting to the choice of an export. On the
 * connection's thread. Spec sections: "Fixed newstyle negotiation", "Option types", "TLS support".
 *
 *   server           client
 *   greeting  -->
 *             <--    client flags
 *             <--    LIST, INFO, and all that is unknown or malformed: as often as it likes
 *   replies   -->
 *             <--    GO
 *   replies   -->    transmission begins, unless the last reply is an error
 *             <--    EXPORT_NAME
 *   export    -->    transmission begins, or the server hangs up
 *             <--    STARTTLS
 *   ACK       -->    TLS's own handshake; what was negotiated before is forgotten
 *             <--    ABORT
 *   ACK       -->    the server hangs up
 *
 * Where TLS is required, everything but STARTTLS and ABORT is refused before it (the spec's
 * FORCEDTLS mode). Nothing is received ahead: what a client, or somebody on the way, sends behind
 * STARTTLS in plain text goes into TLS, which ends there.
 *
 * All of it has one deadline. An option's payload is read whole before it is looked at, into a
 * buffer whose size no client chooses; replies are gathered in connection->out and sent together.
 */
#include "block/export/nbd-server.h"

#include "block/export/export.h"
#include "block/io.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

enum {
    OPTION_BYTES_MAX = 64 << 10, /* of payload: far more than any option needs */
    OPTION_SKIP_MAX = 32 << 20,  /* a longer one is hung up on, not skipped */
    EXPORT_NAME_MAX = NBD_STRING_BYTES_MAX,
};

/* What an option leads to; a negative errno hangs up. */
enum { OPTION_NEXT = 0, OPTION_TRANSMISSION = 1 };

struct handshake {
    struct nbd_connection *connection;
    struct nbd_buffer *out;
    uint64_t deadline_ms;
    uint32_t client_flags;
    uint32_t option, length;
    unsigned char payload[OPTION_BYTES_MAX];
};

static int handshake_read(struct handshake *handshake, void *buf, size_t length)
{
    return nbd_channel_read(&handshake->connection->channel, buf, length, handshake->deadline_ms);
}

static int handshake_send(struct handshake *handshake)
{
    return nbd_channel_send_buffer(&handshake->connection->channel, handshake->out,
                                   handshake->deadline_ms);
}

/* ---- replies ---- */

/* Appends a reply's header; `length` bytes are to follow. -ENOBUFS if they would not fit. */
static int reply_begin(struct handshake *handshake, uint32_t type, size_t length)
{
    struct nbd_option_reply_be reply = {
        .magic = htobe64(NBD_OPTION_REPLY_MAGIC),
        .option = htobe32(handshake->option),
        .type = htobe32(type),
        .length = htobe32((uint32_t)length),
    };
    if (sizeof(reply) + length > nbd_buffer_room(handshake->out))
        return -ENOBUFS;
    nbd_buffer_append(handshake->out, &reply, sizeof(reply));
    return 0;
}

static int reply_add(struct handshake *handshake, uint32_t type, const void *data, size_t length)
{
    int ret = reply_begin(handshake, type, length);
    if (ret)
        return ret;
    nbd_buffer_append(handshake->out, data, length);
    return 0;
}

static int reply_acknowledge(struct handshake *handshake)
{
    int ret = reply_begin(handshake, NBD_REP_ACK, 0);
    return ret ? ret : handshake_send(handshake);
}

/* Answers the option with an error; the client may go on. */
static int reply_error(struct handshake *handshake, uint32_t type, const char *message)
{
    static_assert(ERR_MESSAGE_BYTES <= NBD_STRING_BYTES_MAX, "messages fit a protocol string");
    int ret = reply_add(handshake, type, message, strlen(message));
    return ret ? ret : handshake_send(handshake);
}

/* ---- exports ---- */

static uint16_t export_flags(const struct device *device)
{
    uint16_t flags =
        NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN;
    return device_is_read_only(device) ? flags | NBD_FLAG_READ_ONLY
                                       : flags | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
}

/* The device behind the name, in use. NULL and *err: a malformed name is InvalidValue. */
static struct device *export_find(struct handshake *handshake, const unsigned char *name,
                                  size_t length, struct err *err)
{
    char text[EXPORT_NAME_MAX + 1];
    if (length > EXPORT_NAME_MAX || memchr(name, '\0', length)) {
        err_set(err, ErrInvalidValue, 0, "an export's name has at most %d bytes and no NUL",
                EXPORT_NAME_MAX);
        return NULL;
    }
    memcpy(text, name, length);
    text[length] = '\0';
    return export_use(handshake->connection->server->block, text, err);
}

static int option_export_name(struct handshake *handshake)
{
    struct err err;
    struct device *device = export_find(handshake, handshake->payload, handshake->length, &err);
    if (!device)
        return -ENOENT;
    handshake->connection->session.device = device;
    struct nbd_export_be export = {
        .size_bytes = htobe64(device_size_bytes(device)),
        .flags = htobe16(export_flags(device)),
    };
    bool zeros = !(handshake->client_flags & NBD_FLAG_NO_ZEROES);
    nbd_buffer_append(handshake->out, &export,
                      zeros ? sizeof(export) : offsetof(struct nbd_export_be, zeros));
    int ret = handshake_send(handshake);
    return ret ? ret : OPTION_TRANSMISSION;
}

/* ---- LIST ---- */

static int list_add(void *arg, const char *name)
{
    struct handshake *handshake = arg;
    size_t length = strlen(name);
    uint32_t length_be = htobe32((uint32_t)length);
    int ret = reply_begin(handshake, NBD_REP_SERVER, sizeof(length_be) + length);
    if (ret)
        return ret;
    nbd_buffer_append(handshake->out, &length_be, sizeof(length_be));
    nbd_buffer_append(handshake->out, name, length);
    return 0;
}

static int option_list(struct handshake *handshake)
{
    if (handshake->length != 0)
        return reply_error(handshake, NBD_REP_ERR_INVALID, "LIST has no data");
    if (export_list(handshake->connection->server->block, list_add, handshake) != 0) {
        nbd_buffer_consume(handshake->out, nbd_buffer_length(handshake->out));
        return reply_error(handshake, NBD_REP_ERR_TOO_BIG, "there are too many exports to list");
    }
    return reply_acknowledge(handshake);
}

/* ---- INFO and GO ---- */

/* The payload taken apart; `name` and `requests` point into it. */
struct info_payload {
    const unsigned char *name, *requests;
    uint32_t name_length;
    uint16_t request_count;
};

static uint16_t read_be16(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static int info_decode(const struct handshake *handshake, struct info_payload *info)
{
    uint32_t length_be;
    size_t rest = handshake->length;
    if (rest < sizeof(length_be) + sizeof(uint16_t))
        return -EINVAL;
    memcpy(&length_be, handshake->payload, sizeof(length_be));
    rest -= sizeof(length_be) + sizeof(uint16_t);
    info->name_length = be32toh(length_be);
    if (info->name_length > rest)
        return -EINVAL;
    info->name = handshake->payload + sizeof(length_be);
    info->request_count = read_be16(info->name + info->name_length);
    info->requests = info->name + info->name_length + sizeof(uint16_t);
    rest -= info->name_length;
    return rest == info->request_count * sizeof(uint16_t) ? 0 : -EINVAL;
}

static bool info_is_requested(const struct info_payload *info, enum nbd_info what)
{
    for (size_t i = 0; i < info->request_count; i++)
        if (read_be16(info->requests + i * sizeof(uint16_t)) == what)
            return true;
    return false;
}

/* Appends what is known of the export. */
static int info_add(struct handshake *handshake, const struct info_payload *info,
                    const struct device *device)
{
    struct nbd_info_export_be export = {
        .type = htobe16(NBD_INFO_EXPORT),
        .size_bytes = htobe64(device_size_bytes(device)),
        .flags = htobe16(export_flags(device)),
    };
    struct nbd_info_block_size_be block_size = {
        .type = htobe16(NBD_INFO_BLOCK_SIZE),
        .minimum = htobe32(NBD_BLOCK_BYTES_MIN),
        .preferred = htobe32(NBD_BLOCK_BYTES_PREFERRED),
        .maximum = htobe32(NBD_PAYLOAD_BYTES_MAX),
    };
    uint16_t name_type = htobe16(NBD_INFO_NAME);
    int ret = reply_add(handshake, NBD_REP_INFO, &export, sizeof(export));
    if (!ret && info_is_requested(info, NBD_INFO_NAME)) {
        ret = reply_begin(handshake, NBD_REP_INFO, sizeof(name_type) + info->name_length);
        if (!ret) {
            nbd_buffer_append(handshake->out, &name_type, sizeof(name_type));
            nbd_buffer_append(handshake->out, info->name, info->name_length);
        }
    }
    return ret ? ret : reply_add(handshake, NBD_REP_INFO, &block_size, sizeof(block_size));
}

static int option_info_or_go(struct handshake *handshake)
{
    struct nbd_connection *connection = handshake->connection;
    struct info_payload info;
    struct err err;
    if (info_decode(handshake, &info) != 0)
        return reply_error(handshake, NBD_REP_ERR_INVALID, "the option's lengths do not add up");
    struct device *device = export_find(handshake, info.name, info.name_length, &err);
    if (!device && err.code == ErrInvalidValue)
        return reply_error(handshake, NBD_REP_ERR_INVALID, err.message);
    if (!device && err.code == ErrDeviceNotFound) /* what the client called it is not for echoing */
        return reply_error(handshake, NBD_REP_ERR_UNKNOWN, "there is no export of that name");
    if (!device)
        return reply_error(handshake, NBD_REP_ERR_UNKNOWN, err.message);

    int ret = info_add(handshake, &info, device);
    bool go = handshake->option == NBD_OPT_GO;
    if (go)
        connection->session.device = device;
    else
        export_unuse(connection->server->block, device);
    if (!ret)
        ret = reply_acknowledge(handshake);
    return ret == 0 && go ? OPTION_TRANSMISSION : ret;
}

/* ---- STARTTLS ---- */

static bool tls_is_missing(const struct handshake *handshake)
{
    return handshake->connection->tls_required && !handshake->connection->channel.tls;
}

static int reply_tls_is_missing(struct handshake *handshake)
{
    return reply_error(handshake, NBD_REP_ERR_TLS_REQD, "start TLS first: it is required here");
}

/* Somebody on the way may have sent the options so far in the client's name: none has an effect
 * behind TLS. Only the client's flags, which came before all options, stay. */
static void handshake_forget(struct handshake *handshake)
{
    assert(nbd_buffer_length(handshake->out) == 0);
    assert(nbd_buffer_length(&handshake->connection->in) == 0);
    assert(!handshake->connection->session.device);
}

static int option_starttls(struct handshake *handshake)
{
    struct nbd_channel *channel = &handshake->connection->channel;
    const struct nbd_tls *tls = handshake->connection->server->tls;
    if (channel->tls)
        return reply_error(handshake, NBD_REP_ERR_INVALID, "TLS has been started already");
    if (!tls)
        return reply_error(handshake, NBD_REP_ERR_POLICY, "TLS is not offered here");
    if (handshake->length != 0)
        return reply_error(handshake, NBD_REP_ERR_INVALID, "STARTTLS has no data");
    int ret = reply_acknowledge(handshake);
    if (!ret)
        ret = nbd_channel_start_tls(channel, tls, handshake->deadline_ms);
    if (!ret)
        handshake_forget(handshake);
    else if (ret == -EPROTO) /* a client that is not told why is hard to help */
        nbd_channel_linger(channel, nbd_deadline(handshake->connection->server->limits.linger_ms));
    return ret;
}

/* ---- the phase ---- */

static int handshake_greet(struct handshake *handshake)
{
    const uint32_t known = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;
    struct nbd_greeting_be greeting = {
        .magic = htobe64(NBD_MAGIC),
        .option_magic = htobe64(NBD_OPTION_MAGIC),
        .flags = htobe16(known),
    };
    uint32_t flags_be;
    nbd_buffer_append(handshake->out, &greeting, sizeof(greeting));
    int ret = handshake_send(handshake);
    if (!ret)
        ret = handshake_read(handshake, &flags_be, sizeof(flags_be));
    if (ret)
        return ret;
    handshake->client_flags = be32toh(flags_be);
    return handshake->client_flags & ~known ? -EPROTO : 0;
}

/* Reads and drops the payload of an option that is too long to be one. */
static int option_skip(struct handshake *handshake)
{
    if (handshake->option == NBD_OPT_EXPORT_NAME || handshake->length > OPTION_SKIP_MAX)
        return -EMSGSIZE;
    for (size_t left = handshake->length; left > 0;) {
        size_t piece = left < OPTION_BYTES_MAX ? left : OPTION_BYTES_MAX;
        int ret = handshake_read(handshake, handshake->payload, piece);
        if (ret)
            return ret;
        left -= piece;
    }
    if (tls_is_missing(handshake))
        return reply_tls_is_missing(handshake);
    return reply_error(handshake, NBD_REP_ERR_TOO_BIG, "the option has too much data");
}

static int option_run(struct handshake *handshake)
{
    /* Without fixed newstyle a client cannot tell a reply to an option from the export. */
    if (!(handshake->client_flags & NBD_FLAG_FIXED_NEWSTYLE) &&
        handshake->option != NBD_OPT_EXPORT_NAME)
        return -EPROTO;
    if (tls_is_missing(handshake) && handshake->option == NBD_OPT_EXPORT_NAME)
        return -EPERM; /* there is no way to answer with an error */
    if (tls_is_missing(handshake) && handshake->option != NBD_OPT_STARTTLS &&
        handshake->option != NBD_OPT_ABORT)
        return reply_tls_is_missing(handshake);
    switch (handshake->option) {
    case NBD_OPT_EXPORT_NAME:
        return option_export_name(handshake);
    case NBD_OPT_ABORT:
        reply_acknowledge(handshake); /* the client may be gone already */
        return -ECONNABORTED;
    case NBD_OPT_STARTTLS:
        return option_starttls(handshake);
    case NBD_OPT_LIST:
        return option_list(handshake);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return option_info_or_go(handshake);
    default:
        return reply_error(handshake, NBD_REP_ERR_UNSUP, "the option is not supported");
    }
}

static int handshake_run_option(struct handshake *handshake)
{
    struct nbd_option_be option;
    int ret = handshake_read(handshake, &option, sizeof(option));
    if (ret)
        return ret;
    if (be64toh(option.magic) != NBD_OPTION_MAGIC)
        return -EPROTO;
    handshake->option = be32toh(option.option);
    handshake->length = be32toh(option.length);
    if (handshake->length > OPTION_BYTES_MAX)
        return option_skip(handshake);
    ret = handshake_read(handshake, handshake->payload, handshake->length);
    return ret ? ret : option_run(handshake);
}

int nbd_handshake(struct nbd_connection *connection)
{
    struct handshake handshake = {
        .connection = connection,
        .out = &connection->out,
        .deadline_ms = nbd_deadline(connection->server->limits.handshake_ms),
    };
    int ret = handshake_greet(&handshake);
    while (ret == OPTION_NEXT)
        ret = handshake_run_option(&handshake);
    return ret == OPTION_TRANSMISSION ? 0 : ret;
}
