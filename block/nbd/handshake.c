/* SPDX-License-Identifier: Apache-2.0
 *
 * The handshake: fixed newstyle negotiation, from the greeting to the choice of an export. On the
 * connection's thread. Spec sections: "Fixed newstyle negotiation", "Option types", "TLS support".
 *
 *   server           client
 *   greeting  -->
 *             <--    client flags
 *             <--    LIST, INFO, STRUCTURED_REPLY, EXTENDED_HEADERS, LIST_META_CONTEXT,
 *                    SET_META_CONTEXT (meta.c), and all that is unknown or malformed
 *   replies   -->
 *             <--    GO
 *   replies   -->    transmission begins, unless the last reply is an error
 *             <--    EXPORT_NAME
 *   export    -->    transmission begins, or the server hangs up
 *             <--    STARTTLS
 *   ACK       -->    TLS's own handshake; options negotiated before it are void
 *             <--    ABORT
 *   ACK       -->    the server hangs up
 *
 *
 *     GREETING --handshake_greet--> OPTIONS --GO, EXPORT_NAME--> CHOSEN: transmission
 *         |                           ^
 *         +-- if TLS is required --> BEFORE_TLS: only STARTTLS and ABORT (the spec's FORCEDTLS)
 *
 *   H1. A client that must use TLS has no export and no option in effect before TLS.
 *   H2. A device is in use exactly in CHOSEN.
 *   H3. Nothing is received ahead: plain text behind STARTTLS goes into TLS, which fails there.
 *
 * A useful option extends the deadline, up to a ceiling for the whole handshake: the first LIST,
 * and queries about an export, which programs that show all exports send. Of other options
 * limits.options are accepted.
 *
 * A payload is read whole before it is decoded, into a buffer of fixed size; replies are gathered
 * in connection->out and sent together, those of LIST page by page.
 */
#include "block/nbd/handshake.h"

#include "base/cleanup.h"
#include "base/tls/credentials.h"
#include "block/device/exports.h"
#include "block/io.h"
#include "block/nbd/admission.h"
#include "block/nbd/meta.h"
#include "block/nbd/tls-session.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

enum {
    LIST_PAGE_BYTES = 64 << 10, /* of names that are gathered under the lock of all exports */
    LIST_PAGE_FULL = 1,
};

static void handshake_assert_state(const struct nbd_handshake *handshake)
{
    const struct nbd_connection *connection = handshake->connection;
    enum nbd_handshake_state state = handshake->state;
    assert(!connection->session.device == (state != NBD_HANDSHAKE_CHOSEN)); /* H2 */
    assert(nbd_buffer_length(&connection->in) == 0);                        /* H3 */
    if (state == NBD_HANDSHAKE_BEFORE_TLS)
        assert(!connection->channel.tls && connection->session.style == NBD_STYLE_SIMPLE); /* H1 */
    else
        assert(state == NBD_HANDSHAKE_GREETING || !connection->tls_required ||
               connection->channel.tls); /* H1 */
    (void)connection;
    (void)state;
}

static void handshake_enter_state(struct nbd_handshake *handshake, enum nbd_handshake_state state)
{
    assert(state > handshake->state);
    handshake->state = state;
    handshake_assert_state(handshake);
}

static int handshake_read(struct nbd_handshake *handshake, void *buf, size_t length)
{
    return nbd_channel_read(&handshake->connection->channel, buf, length, handshake->deadline_ms);
}

/* ---- exports ---- */

static uint16_t export_flags(const struct nbd_handshake *handshake, const struct device *device)
{
    const struct nbd_session *session = &handshake->connection->session;
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
                     NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE;
    if (device_is_read_only(device))
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    if (session->style != NBD_STYLE_SIMPLE)
        flags |= NBD_FLAG_SEND_DF;
    if (session->style == NBD_STYLE_EXTENDED && session->contexts)
        flags |= NBD_FLAG_BLOCK_STAT_PAYLOAD;
    return (uint16_t)flags;
}

/* The export, which is in use, is chosen: contexts that were selected for another one are not. -1
 * and *err: it is not, and not in use any more. */
static int export_choose(struct nbd_handshake *handshake, struct device *device,
                         const unsigned char *name, size_t length, struct err *err)
{
    struct nbd_connection *connection = handshake->connection;
    struct nbd_session *session = &connection->session;
    if (!nbd_meta_contexts_are_of(handshake, name, length))
        session->contexts = 0;
    if (nbd_meta_begin(handshake, device, err) != 0) {
        export_unuse(connection->server->block, device);
        return -1;
    }
    session->device = device;
    nbd_peer_describe(connection, &connection->client.who);
    export_enter(connection->server->block, device, &connection->client);
    handshake_enter_state(handshake, NBD_HANDSHAKE_CHOSEN);
    return 0;
}

static int option_export_name(struct nbd_handshake *handshake)
{
    struct err err;
    if (handshake->connection->session.style == NBD_STYLE_EXTENDED)
        return -EPROTO; /* it cannot describe extended headers; clients must send GO */
    struct device *device = nbd_option_find(handshake, handshake->payload, handshake->length, &err);
    if (!device)
        return -ENOENT;
    if (export_choose(handshake, device, handshake->payload, handshake->length, &err) != 0)
        return -ENOENT;
    handshake->connection->session.size_bytes = device_size_bytes(device);
    struct nbd_export_be export = {
        .size_bytes = htobe64(handshake->connection->session.size_bytes),
        .flags = htobe16(export_flags(handshake, device)),
    };
    bool zeros = !(handshake->client_flags & NBD_FLAG_NO_ZEROES);
    nbd_buffer_append(handshake->out, &export,
                      zeros ? sizeof(export) : offsetof(struct nbd_export_be, zeros));
    return nbd_option_send(handshake);
}

/* Appends a reply of that type: `head`, then `text`. */
static int reply_append(struct nbd_handshake *handshake, uint32_t type, const void *head,
                        size_t head_length, const void *text, size_t length)
{
    int ret = nbd_option_reply_begin(handshake, type, head_length + length);
    if (ret)
        return ret;
    nbd_buffer_append(handshake->out, head, head_length);
    nbd_buffer_append(handshake->out, text, length);
    return 0;
}

/* ---- LIST ---- */

static int list_add(void *arg, const char *name)
{
    struct nbd_handshake *handshake = arg;
    size_t length = strlen(name);
    uint32_t length_be = htobe32((uint32_t)length);
    if (nbd_buffer_length(handshake->out) >= LIST_PAGE_BYTES)
        return LIST_PAGE_FULL;
    return reply_append(handshake, NBD_REP_SERVER, &length_be, sizeof(length_be), name, length);
}

/* Page by page, and no lock is held while one is sent: a client may read as slowly as it likes.
 * Exports that do not admit the client are left out, as the spec allows for those that need TLS:
 * programs that show all exports open each, and end at the first that is refused. */
static int option_list(struct nbd_handshake *handshake)
{
    struct block *block = handshake->connection->server->block;
    struct export_cursor cursor = {0};
    int ret;
    if (handshake->length != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, "LIST has no data");
    while ((ret = export_list(block, &cursor, &handshake->client, list_add, handshake)) ==
           LIST_PAGE_FULL)
        if ((ret = nbd_option_send(handshake)) != 0)
            return ret;
    handshake->is_useful = !handshake->has_listed;
    handshake->has_listed = true;
    return ret ? ret : nbd_option_acknowledge(handshake);
}

/* ---- INFO and GO ---- */

/* The payload taken apart; `name` and `requests` point into it. */
struct info_payload {
    const unsigned char *name, *requests;
    uint32_t name_length, request_count;
};

static int info_decode(const struct nbd_handshake *handshake, struct info_payload *info)
{
    struct nbd_reader reader = {handshake->payload, handshake->length};
    if (nbd_reader_string(&reader, &info->name, &info->name_length) != 0 ||
        nbd_reader_number(&reader, 2, &info->request_count) != 0)
        return -EINVAL;
    info->requests = reader.at;
    return reader.left == info->request_count * sizeof(uint16_t) ? 0 : -EINVAL;
}

static bool info_is_requested(const struct info_payload *info, enum nbd_info what)
{
    for (size_t i = 0; i < info->request_count; i++)
        if ((info->requests[2 * i] << 8 | info->requests[2 * i + 1]) == (int)what)
            return true;
    return false;
}

static int info_add_text(struct nbd_handshake *handshake, enum nbd_info type, const void *text,
                         size_t length)
{
    uint16_t type_be = htobe16((uint16_t)type);
    return reply_append(handshake, NBD_REP_INFO, &type_be, sizeof(type_be), text, length);
}

/* Appends what is known of the export; what NBD_OPT_GO tells, the last time, holds. */
static int info_add(struct nbd_handshake *handshake, const struct info_payload *info,
                    const struct device *device)
{
    uint64_t size_bytes = device_size_bytes(device);
    handshake->connection->session.size_bytes = size_bytes;
    struct nbd_info_export_be export = {
        .type = htobe16(NBD_INFO_EXPORT),
        .size_bytes = htobe64(size_bytes),
        .flags = htobe16(export_flags(handshake, device)),
    };
    struct nbd_info_block_size_be block_size = {
        .type = htobe16(NBD_INFO_BLOCK_SIZE),
        .minimum = htobe32(NBD_BLOCK_BYTES_MIN),
        .preferred = htobe32(NBD_BLOCK_BYTES_PREFERRED),
        .maximum = htobe32(NBD_PAYLOAD_BYTES_MAX),
    };
    const char *description =
        device_is_read_only(device) ? "read-only disk of snapgroupd" : "disk of snapgroupd";
    int ret = nbd_option_reply_add(handshake, NBD_REP_INFO, &export, sizeof(export));
    if (!ret && info_is_requested(info, NBD_INFO_NAME))
        ret = info_add_text(handshake, NBD_INFO_NAME, info->name, info->name_length);
    if (!ret && info_is_requested(info, NBD_INFO_DESCRIPTION))
        ret = info_add_text(handshake, NBD_INFO_DESCRIPTION, description, strlen(description));
    return ret ? ret
               : nbd_option_reply_add(handshake, NBD_REP_INFO, &block_size, sizeof(block_size));
}

static int option_info_or_go(struct nbd_handshake *handshake)
{
    struct nbd_connection *connection = handshake->connection;
    struct info_payload info;
    struct err err;
    int ret;
    if (info_decode(handshake, &info) != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID,
                                "the lengths in the option are inconsistent");
    struct device *device = nbd_option_export(handshake, info.name, info.name_length, &ret);
    if (!device)
        return ret;
    bool go = handshake->option == NBD_OPT_GO;
    if (go && export_choose(handshake, device, info.name, info.name_length, &err) != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_UNKNOWN, err.message);
    ret = info_add(handshake, &info, device);
    if (!go)
        export_unuse(connection->server->block, device);
    return ret ? ret : nbd_option_acknowledge(handshake);
}

/* ---- STARTTLS ---- */

static int reply_tls_is_missing(struct nbd_handshake *handshake)
{
    return nbd_option_error(handshake, NBD_REP_ERR_TLS_REQD,
                            "TLS is required: send STARTTLS first");
}

/* A man in the middle may have sent the options before TLS: none keeps its effect. The client's
 * flags, which came before all options, stay. */
static void handshake_forget(struct nbd_handshake *handshake)
{
    handshake->connection->session.style = NBD_STYLE_SIMPLE;
    handshake->connection->session.contexts = 0;
    handshake->context_export_length = 0;
    assert(nbd_buffer_length(handshake->out) == 0);
    if (handshake->state == NBD_HANDSHAKE_BEFORE_TLS)
        handshake_enter_state(handshake, NBD_HANDSHAKE_OPTIONS);
}

/* Who the client has proven to be. */
static void handshake_identify(struct nbd_handshake *handshake)
{
    static_assert((int)TLS_NAMES_MAX <= (int)CLIENT_NAMES_MAX, "a client has all its names");
    nbd_tls_session_names(handshake->connection->channel.tls, &handshake->names);
    handshake->client.count = handshake->names.count;
    for (size_t i = 0; i < handshake->names.count; i++)
        handshake->client.names[i] = handshake->names.list[i];
}

/* A reference to the credentials of now, which may be replaced at any time. NULL: none. */
static struct tls_credentials *server_credentials(struct nbd_server *server)
{
    LOCK_GUARD(&server->lock);
    return server->tls ? tls_credentials_ref(server->tls) : NULL;
}

static int option_starttls(struct nbd_handshake *handshake)
{
    struct nbd_channel *channel = &handshake->connection->channel;
    if (channel->tls)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, "TLS is already active");
    CLEANUP(tls_credentials)
    struct tls_credentials *credentials = server_credentials(handshake->connection->server);
    if (!credentials)
        return nbd_option_error(handshake, NBD_REP_ERR_POLICY, "TLS is not offered here");
    if (handshake->length != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, "STARTTLS has no data");
    int ret = nbd_option_acknowledge(handshake);
    if (!ret)
        ret = nbd_channel_start_tls(channel, steal(credentials), handshake->deadline_ms);
    if (!ret) {
        handshake_forget(handshake);
        handshake_identify(handshake);
    } else if (ret == -EPROTO) /* a client that is not told why is hard to help */
        nbd_channel_linger(channel, nbd_deadline(handshake->connection->server->limits.linger_ms));
    return ret;
}

/* ---- STRUCTURED_REPLY and EXTENDED_HEADERS ---- */

static int option_style(struct nbd_handshake *handshake, enum nbd_style style)
{
    struct nbd_session *session = &handshake->connection->session;
    if (handshake->length != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, "the option has no data");
    if (session->style == style)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, "this has been negotiated already");
    if (session->style == NBD_STYLE_EXTENDED)
        return nbd_option_error(handshake, NBD_REP_ERR_EXT_HEADER_REQD,
                                "extended headers have been negotiated already");
    session->style = style;
    return nbd_option_acknowledge(handshake);
}

/* ---- the phase ---- */

static int handshake_greet(struct nbd_handshake *handshake)
{
    const uint32_t known = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;
    struct nbd_greeting_be greeting = {
        .magic = htobe64(NBD_MAGIC),
        .option_magic = htobe64(NBD_OPTION_MAGIC),
        .flags = htobe16(known),
    };
    uint32_t flags_be;
    nbd_buffer_append(handshake->out, &greeting, sizeof(greeting));
    int ret = nbd_option_send(handshake);
    if (!ret)
        ret = handshake_read(handshake, &flags_be, sizeof(flags_be));
    if (ret)
        return ret;
    handshake->client_flags = be32toh(flags_be);
    handshake_enter_state(handshake, handshake->connection->tls_required ? NBD_HANDSHAKE_BEFORE_TLS
                                                                         : NBD_HANDSHAKE_OPTIONS);
    return handshake->client_flags & ~known ? -EPROTO : 0;
}

static int option_abort(struct nbd_handshake *handshake)
{
    nbd_option_acknowledge(handshake); /* the client may be gone already */
    return -ECONNABORTED;
}

/* Reads and drops the payload of an option that is too long to be one. */
static int option_skip(struct nbd_handshake *handshake)
{
    if (handshake->option == NBD_OPT_EXPORT_NAME || handshake->length > NBD_OPTION_SKIP_BYTES_MAX)
        return -EMSGSIZE;
    for (size_t left = handshake->length; left > 0;) {
        size_t piece = left < NBD_OPTION_BYTES_MAX ? left : NBD_OPTION_BYTES_MAX;
        int ret = handshake_read(handshake, handshake->payload, piece);
        if (ret)
            return ret;
        left -= piece;
    }
    if (handshake->state == NBD_HANDSHAKE_BEFORE_TLS)
        return reply_tls_is_missing(handshake);
    return nbd_option_error(handshake, NBD_REP_ERR_TOO_BIG, "the option has too much data");
}

static int option_run_before_tls(struct nbd_handshake *handshake)
{
    switch (handshake->option) {
    case NBD_OPT_EXPORT_NAME:
        return -EPERM; /* it has no error reply */
    case NBD_OPT_ABORT:
        return option_abort(handshake);
    case NBD_OPT_STARTTLS:
        return option_starttls(handshake);
    default:
        return reply_tls_is_missing(handshake);
    }
}

static int option_run(struct nbd_handshake *handshake)
{
    /* Without fixed newstyle a client cannot tell a reply to an option from the export. */
    if (!(handshake->client_flags & NBD_FLAG_FIXED_NEWSTYLE) &&
        handshake->option != NBD_OPT_EXPORT_NAME)
        return -EPROTO;
    if (handshake->state == NBD_HANDSHAKE_BEFORE_TLS)
        return option_run_before_tls(handshake);
    switch (handshake->option) {
    case NBD_OPT_EXPORT_NAME:
        return option_export_name(handshake);
    case NBD_OPT_ABORT:
        return option_abort(handshake);
    case NBD_OPT_STARTTLS:
        return option_starttls(handshake);
    case NBD_OPT_LIST:
        return option_list(handshake);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return option_info_or_go(handshake);
    case NBD_OPT_STRUCTURED_REPLY:
        return option_style(handshake, NBD_STYLE_STRUCTURED);
    case NBD_OPT_EXTENDED_HEADERS:
        return option_style(handshake, NBD_STYLE_EXTENDED);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return nbd_meta_option(handshake);
    default:
        return nbd_option_error(handshake, NBD_REP_ERR_UNSUP, "the option is not supported");
    }
}

/* The client makes progress. */
static void handshake_put_off(struct nbd_handshake *handshake)
{
    uint64_t deadline_ms = nbd_deadline(handshake->connection->server->limits.handshake_ms);
    handshake->deadline_ms =
        deadline_ms < handshake->ceiling_ms ? deadline_ms : handshake->ceiling_ms;
}

static int handshake_run_option(struct nbd_handshake *handshake)
{
    struct nbd_option_be option;
    handshake_assert_state(handshake);
    int ret = handshake_read(handshake, &option, sizeof(option));
    if (ret)
        return ret;
    if (be64toh(option.magic) != NBD_OPTION_MAGIC)
        return -EPROTO;
    if (handshake->useless == handshake->connection->server->limits.options)
        return -EMSGSIZE;
    handshake->option = be32toh(option.option);
    handshake->length = be32toh(option.length);
    handshake->is_useful = false;
    if (handshake->length > NBD_OPTION_BYTES_MAX)
        ret = option_skip(handshake);
    else if ((ret = handshake_read(handshake, handshake->payload, handshake->length)) == 0)
        ret = option_run(handshake);
    if (handshake->is_useful)
        handshake_put_off(handshake);
    else
        handshake->useless++;
    return ret;
}

int nbd_handshake(struct nbd_connection *connection)
{
    struct nbd_handshake handshake = {
        .connection = connection,
        .out = &connection->out,
        .deadline_ms = nbd_deadline(connection->server->limits.handshake_ms),
        .ceiling_ms = nbd_deadline(connection->server->limits.handshake_max_ms),
    };
    if (handshake.deadline_ms > handshake.ceiling_ms)
        handshake.ceiling_ms = handshake.deadline_ms;
    int ret = handshake_greet(&handshake);
    while (!ret && handshake.state != NBD_HANDSHAKE_CHOSEN)
        ret = handshake_run_option(&handshake);
    return ret;
}
