/* SPDX-License-Identifier: Apache-2.0
 *
 * See users.h.
 */
#include "block/device/users.h"

#include <stdio.h>

static const struct node *chain_find(const struct node *top, dev_t dev, ino_t ino,
                                     const struct node *own)
{
    const struct node *node = top;
    while (node && (node == own || node->dev != dev || node->ino != ino))
        node = node->backing;
    return node;
}

/* Whether `user` is rather named than the one that is known. */
static bool user_is_better(const struct image_user *user, const struct image_user *known)
{
    if (!*known->device || user->is_writer != known->is_writer)
        return !*known->device || user->is_writer;
    return known->is_passing && !user->is_passing;
}

bool image_user_find(struct block *block, dev_t dev, ino_t ino, const struct node *own,
                     struct image_user *user)
{
    *user = (struct image_user){.is_writer = false};
    READERS_GUARD(&block->walkers);
    LOCK_GUARD(&block->lock);
    for (struct device *device = block->devices; device; device = device->next) {
        CLEANUP(node) struct node *top = device_top(device);
        const struct node *node = chain_find(top, dev, ino, own);
        if (!node)
            continue;
        struct image_user found = {.is_passing = !device->exported,
                                   .is_writer = node == top && !atomic_load(&top->read_only)};
        snprintf(found.device, sizeof(found.device), "%s", device->name);
        if (user_is_better(&found, user))
            *user = found;
    }
    return *user->device;
}

int image_user_report(struct block *block, const struct file_use *use, struct err *err)
{
    struct image_user user;
    bool is_found = image_user_find(block, use->dev, use->ino, NULL, &user);
    if (!is_found || (use->read_only && !user.is_writer))
        return err_set(err, ErrDeviceInUse, 0,
                       "image '%s' is in use by a call, a job or an export; try again when that "
                       "has ended",
                       use->path);
    if (user.is_passing)
        return err_set(err, ErrDeviceInUse, 0,
                       "image '%s' is in use by device '%s', which is being attached or detached; "
                       "try again",
                       use->path, user.device);
    return err_set(err, ErrImageInUse, 0, "image '%s' is in use by device '%s'", use->path,
                   user.device);
}
