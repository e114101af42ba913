/* SPDX-License-Identifier: Apache-2.0
 *
 * See images.h.
 */
#include "service/images.h"

#include "base/log.h"
#include "service/context.h"
#include "store/devices.h"
#include "store/images.h"

#include <stdio.h>
#include <string.h>

#define COMPLETE_PAGE_ROWS 100

/* The chain as rows; NULL and *err (OutOfResources). */
static struct image_row *chain_rows(const struct chain_image *chain, size_t length, struct err *err)
{
    struct image_row *rows = calloc(length + 1, sizeof(*rows));
    bool is_short = !rows;
    for (size_t i = 0; i < length && !is_short; i++) {
        rows[i].path = strdup(chain[i].image);
        rows[i].format = strdup(chain[i].format);
        rows[i].identity = *chain[i].identity ? strdup(chain[i].identity) : NULL;
        is_short = !rows[i].path || !rows[i].format || (*chain[i].identity && !rows[i].identity);
    }
    if (!is_short)
        return rows;
    if (rows)
        image_rows_free(rows, length);
    err_set(err, ErrOutOfResources, 0, "there is no memory for a chain of images");
    return NULL;
}

int images_fill_chain(struct device_row *row, const struct device_info *info, struct err *err)
{
    row->chain = chain_rows(info->chain, info->chain_length, err);
    row->chain_count = row->chain ? info->chain_length : 0;
    return row->chain ? 0 : -1;
}

/* ---- devices ---- */

/* 1: the store has the same chain; 0: another one; -1: *err. */
static int chain_is_recorded(struct service *service, const struct device_row *row, struct err *err)
{
    struct image_row *rows;
    size_t count;
    if (!row->top_image)
        return 0;
    if (store_image_chain(service->store, row->top_image, &rows, &count, err) != 0)
        return -1;
    bool is_same = count == row->chain_count && count > 0 && rows[count - 1].is_complete;
    for (size_t i = 0; i < count && is_same; i++)
        is_same = strcmp(rows[i].path, row->chain[i].path) == 0 &&
                  strcmp(rows[i].format, row->chain[i].format) == 0;
    image_rows_free(rows, count);
    return is_same;
}

/* `row` has the chain. */
static int chain_record(struct service *service, const struct device_row *row, struct err *err)
{
    int is_recorded = chain_is_recorded(service, row, err);
    if (is_recorded != 0)
        return is_recorded < 0 ? -1 : 0;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_device_update_chain(transaction, row, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

void images_restore(struct service *service, const struct device_row *row)
{
    struct err err;
    struct device_info info;
    struct device_row known = *row;
    known.chain = NULL;
    known.chain_count = 0;
    if (block_device_info_known(service->block, row->name, &info, &err) == 0) {
        int result = images_fill_chain(&known, &info, &err);
        device_info_clear(&info);
        if (result == 0)
            result = known.chain_count > 0 ? chain_record(service, &known, &err) : 0;
        image_rows_free(known.chain, known.chain_count);
        if (result == 0)
            return;
    }
    log_warning("the chain of device '%s' is not recorded: %s", row->name, err.message);
}

/* ---- images without a device ---- */

static int image_record(struct service *service, const char *path, const struct chain_image *chain,
                        size_t length, struct err *err)
{
    struct image_row *rows = chain_rows(chain, length, err);
    if (!rows)
        return -1;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int result = transaction ? store_image_record_chain(transaction, path, rows, length, err) : -1;
    image_rows_free(rows, length);
    return result == 0 ? store_commit(steal(transaction), err) : -1;
}

static int image_complete(struct service *service, const struct image_row *row, struct err *err)
{
    struct chain_image *chain;
    size_t length;
    struct err failure;
    if (block_chain_list(service->block, row->path, row->format, &chain, &length, &failure) != 0) {
        log_warning("nothing is merged in the tree of image '%s': %s", row->path, failure.message);
        return 0;
    }
    int result = image_record(service, row->path, chain, length, err);
    chain_images_free(chain, length);
    return result;
}

int images_complete(struct service *service, struct err *err)
{
    CLEANUP_FREE char *after = NULL;
    size_t count;
    do {
        struct image_row *rows;
        if (store_image_list_incomplete(service->store, after, COMPLETE_PAGE_ROWS, &rows, &count,
                                        err) != 0)
            return -1;
        int result = 0;
        for (size_t i = 0; i < count && result == 0; i++)
            result = image_complete(service, &rows[i], err);
        free(steal(after));
        if (count > 0)
            after = steal(rows[count - 1].path);
        image_rows_free(rows, count);
        if (result != 0)
            return -1;
    } while (count == COMPLETE_PAGE_ROWS);
    return 0;
}
