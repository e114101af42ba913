/* SPDX-License-Identifier: Apache-2.0
 *
 * See frozen-release.h. What is needed is decided within the transaction that deletes the row of
 * the file; its attribute goes before that is committed, and the block layer forgets the file after
 * it, so a kill in between leaves the file frozen, or frees it.
 */
#include "service/frozen-release.h"

#include "base/log.h"
#include "block/frozen.h"
#include "service/context.h"
#include "service/group-trees.h"
#include "store/frozen-files.h"

static void frozen_file_clear(struct frozen_file *file)
{
    free(file->path);
}

/* Images that stood on it and whose files somebody removed are forgotten. */
static int trees_forget(struct service *service, const struct frozen_file_row *file,
                        struct err *err)
{
    struct frozen_file_row *images;
    size_t count;
    if (store_frozen_file_images(service->store, file, &images, &count, err) != 0)
        return -1;
    int ret = 0;
    for (size_t i = 0; i < count && ret == 0; i++) {
        CLEANUP_BY(tree_clear) struct tree tree = {0};
        ret = tree_load(service, images[i].path, "", &tree, err);
        if (ret == 0)
            ret = tree_forget(service, &tree, err);
    }
    frozen_file_rows_free(images, count);
    return ret;
}

/* Returns -1. */
static int refuse(const char *path, const struct frozen_user_row *user, struct err *err)
{
    switch (user->kind) {
    case FROZEN_MERGE:
        return err_set(err, ErrImageInUse, 0, "image '%s' is half merged; attach '%s'", path,
                       user->name);
    case FROZEN_GROUP:
        return err_set(err, ErrImageInUse, 0,
                       "image '%s' is frozen by snapshot group '%s'; attach it read-only, write to "
                       "an overlay of it, or delete the group",
                       path, user->name);
    case FROZEN_DEVICE:
        return err_set(err, ErrImageInUse, 0,
                       "image '%s' is frozen, and device '%s' uses it; attach it read-only, or "
                       "write to an overlay of it",
                       path, user->name);
    case FROZEN_IMAGE:
        return err_set(err, ErrImageInUse, 0,
                       "image '%s' is frozen, and image '%s' stands on it; attach it read-only, "
                       "write to an overlay of it, or remove the other one if it is not needed",
                       path, user->name);
    default:
        return err_set(err, ErrImageInUse, 0,
                       "image '%s' is frozen, and it is not known whether image '%s' stands on "
                       "it; restart the daemon with the storage of that one there",
                       path, user->name);
    }
}

/* 0; -1: also if something needs it. */
static int row_release(struct service *service, const struct frozen_file *file,
                       const struct frozen_file_row *row, struct err *err)
{
    CLEANUP_BY(frozen_user_row_clear) struct frozen_user_row user = {0};
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int released = transaction ? store_frozen_file_release(transaction, row, &user, err) : -1;
    if (released <= 0)
        return released < 0 ? -1 : refuse(file->path, &user, err);
    if (block_frozen_file_unmark(service->block, file, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

int frozen_file_release(struct service *service, const char *image, struct err *err)
{
    CLEANUP_BY(frozen_file_clear) struct frozen_file file = {0};
    int found = block_frozen_file_find(service->block, image, &file, err);
    if (found <= 0)
        return found;
    const struct frozen_file_row row = {.identity = file.identity, .path = file.path};
    if (trees_forget(service, &row, err) != 0 || row_release(service, &file, &row, err) != 0)
        return -1;
    block_frozen_file_release(service->block, &file);
    log_info("image '%s' is not needed as it was frozen, and may be written again", file.path);
    return 1;
}
