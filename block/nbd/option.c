/* SPDX-License-Identifier: Apache-2.0
 *
 * What the options of a handshake share. See option.h. Spec sections: "Option types",
 * "Option reply types".
 */
#include "block/nbd/option.h"

#include "base/hash-table.h"
#include "base/log.h"
#include "block/device/exports.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

/* ---- payloads ---- */

int nbd_reader_number(struct nbd_reader *reader, unsigned width, uint32_t *value)
{
    const unsigned char *bytes;
    int ret = nbd_reader_bytes(reader, width, &bytes);
    *value = 0;
    for (unsigned i = 0; i < width && !ret; i++)
        *value = *value << 8 | bytes[i];
    return ret;
}

int nbd_reader_bytes(struct nbd_reader *reader, size_t length, const unsigned char **bytes)
{
    if (length > reader->left)
        return -EINVAL;
    *bytes = reader->at;
    reader->at += length;
    reader->left -= length;
    return 0;
}

int nbd_reader_string(struct nbd_reader *reader, const unsigned char **string, uint32_t *length)
{
    int ret = nbd_reader_number(reader, 4, length);
    return ret ? ret : nbd_reader_bytes(reader, *length, string);
}

/* ---- replies ---- */

int nbd_option_reply_begin(struct nbd_handshake *handshake, uint32_t type, size_t length)
{
    struct nbd_option_reply_be reply = {
        .magic = htobe64(NBD_OPTION_REPLY_MAGIC),
        .option = htobe32(handshake->option),
        .type = htobe32(type),
        .length = htobe32((uint32_t)length),
    };
    if (!nbd_buffer_make_room(handshake->out, sizeof(reply) + length))
        return -ENOBUFS;
    nbd_buffer_append(handshake->out, &reply, sizeof(reply));
    return 0;
}

int nbd_option_reply_add(struct nbd_handshake *handshake, uint32_t type, const void *data,
                         size_t length)
{
    int ret = nbd_option_reply_begin(handshake, type, length);
    if (ret)
        return ret;
    nbd_buffer_append(handshake->out, data, length);
    return 0;
}

int nbd_option_acknowledge(struct nbd_handshake *handshake)
{
    int ret = nbd_option_reply_begin(handshake, NBD_REP_ACK, 0);
    return ret ? ret : nbd_option_send(handshake);
}

int nbd_option_error(struct nbd_handshake *handshake, uint32_t type, const char *message)
{
    static_assert(ERR_MESSAGE_BYTES <= NBD_STRING_BYTES_MAX, "messages fit a protocol string");
    int ret = nbd_option_reply_add(handshake, type, message, strlen(message));
    return ret ? ret : nbd_option_send(handshake);
}

int nbd_option_send(struct nbd_handshake *handshake)
{
    return nbd_channel_send_buffer(&handshake->connection->channel, handshake->out,
                                   handshake->deadline_ms);
}

/* ---- exports ---- */

int nbd_option_name(const unsigned char *name, size_t length, char text[NBD_EXPORT_NAME_MAX + 1],
                    struct err *err)
{
    if (length > NBD_EXPORT_NAME_MAX || memchr(name, '\0', length))
        return err_set(err, ErrInvalidValue, 0, "an export's name has at most %d bytes and no NUL",
                       NBD_EXPORT_NAME_MAX);
    memcpy(text, name, length);
    text[length] = '\0';
    return 0;
}

struct device *nbd_option_find(struct nbd_handshake *handshake, const unsigned char *name,
                               size_t length, struct err *err)
{
    char text[NBD_EXPORT_NAME_MAX + 1];
    if (nbd_option_name(name, length, text, err) != 0)
        return NULL;
    struct device *device =
        export_use(handshake->connection->server->block, text, &handshake->client, err);
    if (!device && err->code == ErrForbidden && !handshake->is_refused) {
        log_warning("NBD client refused: %s", err->message);
        handshake->is_refused = true;
    }
    return device;
}

static int option_export_error(struct nbd_handshake *handshake, const struct err *err)
{
    if (err->code == ErrInvalidValue)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID, err->message);
    if (err->code == ErrDeviceNotFound) /* what the client called it is not for echoing */
        return nbd_option_error(handshake, NBD_REP_ERR_UNKNOWN, "there is no export of that name");
    if (err->code == ErrDeviceInUse)
        return nbd_option_error(handshake, NBD_REP_ERR_SHUTDOWN, err->message);
    return nbd_option_error(handshake,
                            err->code == ErrForbidden ? NBD_REP_ERR_POLICY : NBD_REP_ERR_UNKNOWN,
                            err->message);
}

/* The option is about this export, which exists: of use, unless the last one was the same. */
static void option_uses(struct nbd_handshake *handshake, const unsigned char *name, size_t length)
{
    uint64_t hash = hash_bytes(HASH_START, name, length);
    handshake->is_useful =
        handshake->option != handshake->last_use.option || hash != handshake->last_use.export_hash;
    handshake->last_use.option = handshake->option;
    handshake->last_use.export_hash = hash;
}

struct device *nbd_option_export(struct nbd_handshake *handshake, const unsigned char *name,
                                 size_t length, int *ret)
{
    struct err err;
    struct device *device = nbd_option_find(handshake, name, length, &err);
    if (device)
        option_uses(handshake, name, length);
    else
        *ret = option_export_error(handshake, &err);
    return device;
}

bool nbd_option_has_export(struct nbd_handshake *handshake, const unsigned char *name,
                           size_t length, int *ret)
{
    struct err err;
    char text[NBD_EXPORT_NAME_MAX + 1];
    bool is_there =
        nbd_option_name(name, length, text, &err) == 0 &&
        export_check(handshake->connection->server->block, text, &handshake->client, &err) == 0;
    if (is_there)
        option_uses(handshake, name, length);
    else
        *ret = option_export_error(handshake, &err);
    return is_there;
}
