/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata contexts: which there are, and which of them a client selects for BLOCK_STATUS. On the
 * connection's thread, in the handshake. Spec sections: "Metadata querying",
 * "NBD_OPT_LIST_META_CONTEXT", "NBD_OPT_SET_META_CONTEXT"; for `qemu:allocation-depth` QEMU's
 * docs/interop/nbd.txt.
 *
 * Every export has the same contexts. A selection is for one export and holds until the next
 * SET_META_CONTEXT, whether that succeeds or not. A query that names nothing we have is no error.
 */
#include "block/nbd/meta.h"

#include <endian.h>
#include <errno.h>

static const char *const context_names[] = {
    [NBD_CONTEXT_ALLOCATION] = "base:allocation",
    [NBD_CONTEXT_DEPTH] = "qemu:allocation-depth",
};

/* Whether the query means this context: by its name or, in a list, by its namespace alone. */
static bool query_matches(const unsigned char *query, size_t length, const char *name, bool listing)
{
    size_t namespace_length = (size_t)(strchr(name, ':') + 1 - name);
    if (length == strlen(name) && memcmp(query, name, length) == 0)
        return true;
    return listing && length == namespace_length && memcmp(query, name, length) == 0;
}

static unsigned query_contexts(const unsigned char *query, size_t length, bool listing)
{
    unsigned contexts = 0;
    for (unsigned id = 1; id <= NBD_CONTEXT_LAST; id++)
        if (query_matches(query, length, context_names[id], listing))
            contexts |= 1U << id;
    return contexts;
}

/* Takes all queries; *contexts is what they ask for. A list without queries asks for all. */
static int queries_decode(struct nbd_reader *reader, bool listing, unsigned *contexts)
{
    uint32_t count, length;
    const unsigned char *query;
    int ret = nbd_reader_number(reader, 4, &count);
    *contexts = 0;
    if (!ret && listing && count == 0)
        *contexts = 1U << NBD_CONTEXT_ALLOCATION | 1U << NBD_CONTEXT_DEPTH;
    for (uint32_t i = 0; i < count && !ret; i++) {
        ret = nbd_reader_string(reader, &query, &length);
        if (!ret && length > NBD_STRING_BYTES_MAX)
            ret = -EINVAL;
        if (!ret)
            *contexts |= query_contexts(query, length, listing);
    }
    return ret ? ret : reader->left == 0 ? 0 : -EINVAL;
}

static int contexts_add(struct nbd_handshake *handshake, unsigned contexts)
{
    int ret = 0;
    for (unsigned id = 1; id <= NBD_CONTEXT_LAST && !ret; id++) {
        uint32_t id_be = htobe32(id);
        size_t length = strlen(context_names[id]);
        if (!(contexts & 1U << id))
            continue;
        ret = nbd_option_reply_begin(handshake, NBD_REP_META_CONTEXT, sizeof(id_be) + length);
        if (!ret) {
            nbd_buffer_append(handshake->out, &id_be, sizeof(id_be));
            nbd_buffer_append(handshake->out, context_names[id], length);
        }
    }
    return ret;
}

static void contexts_select(struct nbd_handshake *handshake, unsigned contexts,
                            const unsigned char *name, size_t length)
{
    handshake->connection->session.contexts = contexts;
    memcpy(handshake->context_export, name, length);
    handshake->context_export_length = length;
}

bool nbd_meta_contexts_are_of(const struct nbd_handshake *handshake, const unsigned char *name,
                              size_t length)
{
    return handshake->context_export_length == length &&
           memcmp(handshake->context_export, name, length) == 0;
}

int nbd_meta_option(struct nbd_handshake *handshake)
{
    struct nbd_connection *connection = handshake->connection;
    struct nbd_reader reader = {handshake->payload, handshake->length};
    bool listing = handshake->option == NBD_OPT_LIST_META_CONTEXT;
    const unsigned char *name;
    uint32_t name_length;
    unsigned contexts;
    int ret;
    if (!listing)
        connection->session.contexts = 0;
    if (connection->session.style == NBD_STYLE_SIMPLE)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID,
                                "negotiate structured replies or extended headers first");
    if (nbd_reader_string(&reader, &name, &name_length) != 0 ||
        queries_decode(&reader, listing, &contexts) != 0)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID,
                                "the option's lengths do not add up");
    if (!nbd_option_has_export(handshake, name, name_length, &ret)) /* all have the same contexts */
        return ret;
    ret = contexts_add(handshake, contexts);
    if (!ret && !listing)
        contexts_select(handshake, contexts, name, name_length);
    return ret ? ret : nbd_option_acknowledge(handshake);
}
