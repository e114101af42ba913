/* SPDX-License-Identifier: Apache-2.0
 *
 * See frozen-files.h.
 */
#include "service/frozen-files.h"

#include "base/log.h"
#include "block/frozen.h"
#include "service/context.h"
#include "store/frozen-files.h"

#include <stdio.h>
#include <string.h>

#define PROTECT_PAGE_ROWS 1000

static int out_of_memory(struct err *err)
{
    return err_set(err, ErrOutOfResources, 0, "there is no memory for the frozen files");
}

/* Appends copies to the row's list, which has room. -1 when memory is short. */
static int row_append(struct group_row *row, const struct frozen_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct frozen_file_row *to = &row->frozen[row->frozen_count++];
        to->identity = strdup(files[i].identity);
        to->path = strdup(files[i].path);
        if (!to->identity || !to->path)
            return -1;
    }
    return 0;
}

/* "" is not recorded: the identity is not known. */
static int identity_copy(char **to, const char *identity)
{
    if (!*identity)
        return 0;
    free(*to);
    *to = strdup(identity);
    return *to ? 0 : -1;
}

int frozen_files_fill(struct group *group, struct group_row *row, struct err *err)
{
    size_t count = 0;
    struct group_member_info info;
    for (size_t i = 0; i < row->member_count; i++) {
        group_member_info(group, i, &info);
        count += info.frozen_count;
    }
    row->frozen = calloc(count + 1, sizeof(*row->frozen));
    if (!row->frozen)
        return out_of_memory(err);
    for (size_t i = 0; i < row->member_count; i++) {
        struct member_row *member = &row->members[i];
        group_member_info(group, i, &info);
        if (identity_copy(&member->backing_identity, info.backing_identity) != 0 ||
            identity_copy(&member->snapshot_identity, info.snapshot_identity) != 0 ||
            row_append(row, info.frozen_files, info.frozen_count) != 0)
            return out_of_memory(err);
    }
    return 0;
}

static int rows_protect(struct service *service, const struct frozen_file_row *rows, size_t count,
                        struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (block_frozen_file_add(service->block, rows[i].identity, rows[i].path, err) != 0)
            return -1;
    return 0;
}

int frozen_files_protect(struct service *service, struct err *err)
{
    CLEANUP_FREE char *after = NULL;
    size_t count;
    do {
        struct frozen_file_row *rows;
        if (store_frozen_file_list(service->store, after, PROTECT_PAGE_ROWS, &rows, &count, err) !=
            0)
            return -1;
        int result = rows_protect(service, rows, count, err);
        free(after);
        after = count ? steal(rows[count - 1].identity) : NULL;
        frozen_file_rows_free(rows, count);
        if (result != 0)
            return -1;
    } while (count == PROTECT_PAGE_ROWS);
    return 0;
}

/* ---- groups of older daemons ---- */

static int files_adopt(struct service *service, struct frozen_file *files, size_t count,
                       struct err *err)
{
    CLEANUP_FREE struct frozen_file_row *rows = calloc(count + 1, sizeof(*rows));
    if (!rows)
        return out_of_memory(err);
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct frozen_file_row){.identity = files[i].identity, .path = files[i].path};
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_frozen_file_insert(transaction, rows, count, err) != 0 ||
        store_commit(steal(transaction), err) != 0)
        return -1;
    return rows_protect(service, rows, count, err);
}

int frozen_files_adopt(struct service *service, const struct group_row *row, struct err *err)
{
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        struct frozen_file *files = NULL;
        size_t count = 0;
        struct err failure;
        if (member->backing_identity || !member->backing_file || !member->backing_format)
            continue;
        if (block_chain_files(service->block, member->backing_file, member->backing_format, &files,
                              &count, &failure) != 0) {
            log_warning("group %s: the frozen files of device '%s' are not protected: %s", row->id,
                        member->device, failure.message);
            continue;
        }
        int result = files_adopt(service, files, count, err);
        frozen_files_free(files, count);
        if (result != 0)
            return -1;
    }
    return 0;
}
