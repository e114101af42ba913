/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata contexts: which there are, and which of them a client selects for BLOCK_STATUS. On the
 * connection's thread, in the handshake. Spec sections: "Metadata querying",
 * "NBD_OPT_LIST_META_CONTEXT", "NBD_OPT_SET_META_CONTEXT"; for `qemu:allocation-depth` QEMU's
 * docs/interop/nbd.txt.
 *
 * Every export has the first two contexts. A frozen member has one more for every older group of
 * its device, "qemu:dirty-bitmap:GROUP", of which a session has one at most: what has changed since
 * that group, as QEMU describes bitmaps. The older member is in use as long as the export is.
 *
 * A selection is for one export and holds until the next SET_META_CONTEXT, whether that succeeds or
 * not. A query that names nothing we have is no error.
 */
#include "block/nbd/meta.h"

#include "block/io.h"

#include <endian.h>
#include <errno.h>

static const char *const context_names[] = {
    [NBD_CONTEXT_ALLOCATION] = "base:allocation",
    [NBD_CONTEXT_DEPTH] = "qemu:allocation-depth",
};

#define BITMAP_PREFIX "qemu:dirty-bitmap:"
enum {
    BITMAP_QUERIES_MAX = 64, /* that are looked up in one list */
    LIST_PAGE_BYTES = 64 << 10,
    LIST_PAGE_FULL = 1,
};

/* What the queries of an option ask for. */
struct wanted {
    unsigned contexts;             /* but for NBD_CONTEXT_CHANGED */
    bool all_bitmaps;              /* of a list */
    struct nbd_reader first_query; /* and those that follow, which are well-formed */
    uint32_t query_count;
};

/* ---- queries ---- */

static bool query_is(const unsigned char *query, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(query, text, length) == 0;
}

/* Whether the query means this context: by its name or, in a list, by its namespace alone. */
static bool query_matches(const unsigned char *query, size_t length, const char *name, bool listing)
{
    size_t namespace_length = (size_t)(strchr(name, ':') + 1 - name);
    return query_is(query, length, name) ||
           (listing && length == namespace_length && memcmp(query, name, length) == 0);
}

/* The group of a query for what has changed since; false: the query is another one. */
static bool query_group(const unsigned char *query, size_t length, char group[GROUP_NAME_MAX + 1])
{
    const size_t prefix = strlen(BITMAP_PREFIX);
    if (length <= prefix || length > prefix + GROUP_NAME_MAX ||
        memcmp(query, BITMAP_PREFIX, prefix) != 0 || memchr(query, '\0', length))
        return false;
    memcpy(group, query + prefix, length - prefix);
    group[length - prefix] = '\0';
    return true;
}

static void wanted_add(struct wanted *wanted, const unsigned char *query, size_t length,
                       bool listing)
{
    for (unsigned id = 1; id < NBD_CONTEXT_CHANGED; id++)
        if (query_matches(query, length, context_names[id], listing))
            wanted->contexts |= 1U << id;
    if (listing && (query_is(query, length, BITMAP_PREFIX) || query_is(query, length, "qemu:")))
        wanted->all_bitmaps = true;
}

/* Takes all queries. A list without queries asks for all. */
static int queries_decode(struct nbd_reader *reader, bool listing, struct wanted *wanted)
{
    uint32_t length;
    const unsigned char *query;
    *wanted = (struct wanted){0};
    int ret = nbd_reader_number(reader, 4, &wanted->query_count);
    wanted->first_query = *reader;
    if (!ret && listing && wanted->query_count == 0)
        *wanted = (struct wanted){
            .contexts = 1U << NBD_CONTEXT_ALLOCATION | 1U << NBD_CONTEXT_DEPTH,
            .all_bitmaps = true,
        };
    for (uint32_t i = 0; i < wanted->query_count && !ret; i++) {
        ret = nbd_reader_string(reader, &query, &length);
        if (!ret && length > NBD_STRING_BYTES_MAX)
            ret = -EINVAL;
        if (!ret)
            wanted_add(wanted, query, length, listing);
    }
    return ret ? ret : reader->left == 0 ? 0 : -EINVAL;
}

/* ---- replies ---- */

/* Appends a context, whose name is PREFIX and NAME. */
static int context_add(struct nbd_handshake *handshake, unsigned id, const char *prefix,
                       const char *name)
{
    uint32_t id_be = htobe32(id);
    size_t prefix_length = strlen(prefix), length = strlen(name);
    int ret = nbd_option_reply_begin(handshake, NBD_REP_META_CONTEXT,
                                     sizeof(id_be) + prefix_length + length);
    if (ret)
        return ret;
    nbd_buffer_append(handshake->out, &id_be, sizeof(id_be));
    nbd_buffer_append(handshake->out, prefix, prefix_length);
    nbd_buffer_append(handshake->out, name, length);
    return 0;
}

static int contexts_add(struct nbd_handshake *handshake, unsigned contexts)
{
    int ret = 0;
    for (unsigned id = 1; id < NBD_CONTEXT_CHANGED && !ret; id++)
        if (contexts & 1U << id)
            ret = context_add(handshake, id, context_names[id], "");
    return ret;
}

/* ---- what has changed since a group ---- */

static int bitmap_list_add(void *arg, const char *group)
{
    struct nbd_handshake *handshake = arg;
    if (nbd_buffer_length(handshake->out) >= LIST_PAGE_BYTES)
        return LIST_PAGE_FULL;
    return context_add(handshake, NBD_CONTEXT_CHANGED, BITMAP_PREFIX, group);
}

/* Every older group, page by page: no lock is held while one is sent. */
static int bitmaps_list(struct nbd_handshake *handshake, const char *export)
{
    struct export_cursor cursor = {0};
    int ret;
    while ((ret = export_list_older(handshake->connection->server->block, export, &cursor,
                                    bitmap_list_add, handshake)) == LIST_PAGE_FULL)
        if ((ret = nbd_option_send(handshake)) != 0)
            return ret;
    return ret;
}

/* The contexts that the queries name: of a list BITMAP_QUERIES_MAX at most, of a selection the
 * first that there is, whose older export is kept. */
static int bitmaps_add(struct nbd_handshake *handshake, const char *export, bool listing,
                       const struct wanted *wanted, unsigned *contexts)
{
    struct nbd_reader reader = wanted->first_query;
    unsigned looked_up = 0;
    for (uint32_t i = 0; i < wanted->query_count && looked_up < BITMAP_QUERIES_MAX; i++) {
        uint32_t length;
        const unsigned char *query;
        char group[GROUP_NAME_MAX + 1], older[EXPORT_FROZEN_NAME_MAX + 1];
        nbd_reader_string(&reader, &query, &length);
        if (!query_group(query, length, group))
            continue;
        looked_up++;
        if (!export_find_older(handshake->connection->server->block, export, group, older))
            continue;
        int ret = context_add(handshake, NBD_CONTEXT_CHANGED, BITMAP_PREFIX, group);
        if (!listing) {
            *contexts |= 1U << NBD_CONTEXT_CHANGED;
            strcpy(handshake->context_older, older);
        }
        if (ret || !listing)
            return ret;
    }
    return 0;
}

/* Adds the replies of all contexts; *contexts: those that a selection has. */
static int wanted_reply(struct nbd_handshake *handshake, const char *export, bool listing,
                        const struct wanted *wanted, unsigned *contexts)
{
    *contexts = wanted->contexts;
    int ret = contexts_add(handshake, wanted->contexts);
    if (ret)
        return ret;
    return wanted->all_bitmaps ? bitmaps_list(handshake, export)
                               : bitmaps_add(handshake, export, listing, wanted, contexts);
}

int nbd_meta_begin(struct nbd_handshake *handshake, struct device *device, struct err *err)
{
    struct block *block = handshake->connection->server->block;
    struct nbd_session *session = &handshake->connection->session;
    if (!(session->contexts & 1U << NBD_CONTEXT_CHANGED))
        return 0;
    struct device *older = export_use(block, handshake->context_older, &handshake->client, err);
    if (!older)
        return -1;
    if (device_granularity_since(device, older) == 0) {
        export_unuse(block, older);
        return err_set(err, ErrNotRelated, 0, "'%s' has no image in common with this export",
                       handshake->context_older);
    }
    session->older = older;
    return 0;
}

/* ---- selections ---- */

static void contexts_select(struct nbd_handshake *handshake, unsigned contexts, const char *name,
                            size_t length)
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

/* A decoded option about an export that is there. */
struct meta_payload {
    char export[NBD_EXPORT_NAME_MAX + 1];
    size_t export_length;
    struct wanted wanted;
};

/* 0; -1: *ret is what the reply, an error, has returned. */
static int meta_decode(struct nbd_handshake *handshake, bool listing, struct meta_payload *meta,
                       int *ret)
{
    struct nbd_reader reader = {handshake->payload, handshake->length};
    const unsigned char *name;
    uint32_t name_length;
    struct err err;
    if (nbd_reader_string(&reader, &name, &name_length) != 0 ||
        queries_decode(&reader, listing, &meta->wanted) != 0) {
        *ret =
            nbd_option_error(handshake, NBD_REP_ERR_INVALID, "the option's lengths do not add up");
        return -1;
    }
    if (!nbd_option_has_export(handshake, name, name_length, ret))
        return -1;
    meta->export_length = name_length;
    return nbd_option_name(name, name_length, meta->export, &err);
}

int nbd_meta_option(struct nbd_handshake *handshake)
{
    struct nbd_session *session = &handshake->connection->session;
    bool listing = handshake->option == NBD_OPT_LIST_META_CONTEXT;
    struct meta_payload meta;
    unsigned contexts;
    int ret;
    if (!listing)
        session->contexts = 0;
    if (session->style == NBD_STYLE_SIMPLE)
        return nbd_option_error(handshake, NBD_REP_ERR_INVALID,
                                "negotiate structured replies or extended headers first");
    if (meta_decode(handshake, listing, &meta, &ret) != 0)
        return ret;
    ret = wanted_reply(handshake, meta.export, listing, &meta.wanted, &contexts);
    if (!ret && !listing)
        contexts_select(handshake, contexts, meta.export, meta.export_length);
    return ret ? ret : nbd_option_acknowledge(handshake);
}
