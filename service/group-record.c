/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-record.h.
 */
#include "service/group-record.h"

#include "base/log.h"
#include "block/frozen.h"
#include "service/allowed-clients.h"
#include "service/context.h"
#include "service/idempotency.h"
#include "service/names.h"

#include <string.h>

void group_row_fail(struct group_row *row, const struct err *err, size_t member)
{
    free(row->error_message);
    row->has_error = true;
    row->error_code = err->code;
    row->error_errnum = err->errnum;
    row->error_message = strdup(err->message);
    row->has_error_member = member != SIZE_MAX;
    row->error_member = row->has_error_member ? member : 0;
}

int group_row_write(struct service *service,
                    int query(struct store_transaction *, const struct group_row *, struct err *),
                    const struct group_row *row, const struct origin *origin, enum event_kind kind,
                    struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || query(transaction, row, err) != 0 ||
        event_record(transaction, origin, kind, NULL, row->id, err) != 0 ||
        (kind == EVENT_GROUP_COMMITTED && row->kind == GROUP_KIND_CUT &&
         event_record_grown(transaction, origin, row->id, err) != 0) ||
        (query == store_group_insert &&
         key_record(transaction, origin, "group", row->id, err) != 0))
        return -1;
    return store_commit(steal(transaction), err);
}

/* The row has the member's device and clients once it was read from the store. */
int group_row_try_insert(struct service *service, struct group_row *row, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    row->state = GROUP_PREPARING;
    return transaction ? store_group_insert(transaction, row, err) : -1;
}

static int member_offer(struct service *service, const struct group_row *row,
                        const struct member_row *member, struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    CLEANUP(allowed_clients) struct allowed_clients *clients = NULL;
    if (allowed_clients_parse(member->allowed_clients, &clients, err) != 0)
        return -1;
    struct frozen_owner owner = {.id = member->device_id ? id : NULL, .clients = clients};
    if (member->device_id)
        id_bytes(member->device_id, id);
    return block_frozen_add(service->block, member->device, row->name, row->id,
                            member->backing_file, member->backing_identity, member->backing_format,
                            &owner, err);
}

void group_offer_member(struct service *service, const struct group_row *row, size_t position)
{
    struct err err;
    const struct member_row *member = &row->members[position];
    bool is_seen = row->kind != GROUP_KIND_CUT; /* by users */
    if (is_seen && member->backing_file && member->backing_format &&
        member_offer(service, row, member, &err) != 0)
        log_error("frozen member '%s@%s' is not offered: %s", member->device, row->name,
                  err.message);
}
