/* SPDX-License-Identifier: Apache-2.0
 *
 * See merge-record.h.
 */
#include "service/merge-record.h"

#include "base/cleanup.h"
#include "service/context.h"
#include "store/store.h"

int merge_record(struct service *service, const struct job_row *job, const struct merge_row *row,
                 int query(struct store_transaction *, const struct merge_row *, struct err *),
                 struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? query(transaction, row, err) : -1;
    if (changed < 0 || store_job_update_progress(transaction, job, err) < 0 ||
        store_commit(steal(transaction), err) != 0)
        return -1;
    return changed == 0;
}
