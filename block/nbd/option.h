/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one handshake, and the parts that its options share: decoding a payload, replying,
 * looking up an export. On the connection's thread.
 */
#ifndef BLOCK_NBD_OPTION_H
#define BLOCK_NBD_OPTION_H

#include "base/tls/peer.h"
#include "block/device/clients.h"
#include "block/nbd/connection.h"
#include "block/nbd/messages.h"

enum { NBD_EXPORT_NAME_MAX = NBD_STRING_BYTES_MAX };

/* See handshake.c. */
enum nbd_handshake_state {
    NBD_HANDSHAKE_GREETING,
    NBD_HANDSHAKE_BEFORE_TLS,
    NBD_HANDSHAKE_OPTIONS,
    NBD_HANDSHAKE_CHOSEN,
};

struct nbd_handshake {
    struct nbd_connection *connection;
    enum nbd_handshake_state state;
    struct nbd_buffer *out;
    uint64_t deadline_ms; /* later after every option that is of use, but not than ceiling_ms */
    uint64_t ceiling_ms;
    uint32_t client_flags;
    unsigned useless; /* options that were of no use */
    bool is_useful;   /* the option under way is */
    bool has_listed;
    bool is_refused;            /* the log has been told that an export does not admit it */
    struct tls_names names;     /* that TLS has proven */
    struct client_names client; /* the same */
    struct {
        uint32_t option;
        uint64_t export_hash;
    } last_use;
    uint32_t option, length;
    unsigned char payload[NBD_OPTION_BYTES_MAX];
    /* What the session's contexts were selected for; contexts of no other export count. */
    char context_export[NBD_EXPORT_NAME_MAX + 1];
    size_t context_export_length;
    char context_older[EXPORT_FROZEN_NAME_MAX + 1]; /* of NBD_CONTEXT_CHANGED: the older export */
};

/* What is left of an option's payload. */
struct nbd_reader {
    const unsigned char *at;
    size_t left;
};

/* Takes the next number, or the next `length` bytes. -EINVAL if they are not there. */
int nbd_reader_number(struct nbd_reader *reader, unsigned width, uint32_t *value);
int nbd_reader_bytes(struct nbd_reader *reader, size_t length, const unsigned char **bytes);

/* A string with its length of 4 bytes in front. */
int nbd_reader_string(struct nbd_reader *reader, const unsigned char **string, uint32_t *length);

/* Appends a reply's header; `length` bytes are to follow. -ENOBUFS if they would not fit. */
int nbd_option_reply_begin(struct nbd_handshake *handshake, uint32_t type, size_t length);
int nbd_option_reply_add(struct nbd_handshake *handshake, uint32_t type, const void *data,
                         size_t length);

/* Final replies: they are sent, and all that was added before. */
int nbd_option_acknowledge(struct nbd_handshake *handshake);
int nbd_option_error(struct nbd_handshake *handshake, uint32_t type, const char *message);

/* Sends all that was added. */
int nbd_option_send(struct nbd_handshake *handshake);

/* An export's name as a string. A malformed one is InvalidValue. */
int nbd_option_name(const unsigned char *name, size_t length, char text[NBD_EXPORT_NAME_MAX + 1],
                    struct err *err);

/* The device behind the name, in use; or NULL and *err: InvalidValue if the name is malformed,
 * Forbidden if the client may not have it, which is logged once. */
struct device *nbd_option_find(struct nbd_handshake *handshake, const unsigned char *name,
                               size_t length, struct err *err);

/* The device behind the name, in use; or NULL, and *ret is what nbd_option_error() returned. */
struct device *nbd_option_export(struct nbd_handshake *handshake, const unsigned char *name,
                                 size_t length, int *ret);

/* Whether there is such an export; else *ret is what nbd_option_error() returned. */
bool nbd_option_has_export(struct nbd_handshake *handshake, const unsigned char *name,
                           size_t length, int *ret);

#endif
