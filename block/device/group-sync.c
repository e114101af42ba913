/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-sync.h.
 */
#include "block/device/group-sync.h"

#include "block/image/sync.h"

#include <errno.h>

/* Syncs the descriptor of every member, `fd_of` says which; the first that fails, in list order, is
 * reported. */
static int group_sync(struct group *group, int (*fd_of)(const struct member *),
                      size_t *failed_member, struct err *err)
{
    CLEANUP_FREE int *fds = calloc(group->count, sizeof(*fds));
    CLEANUP_FREE int *results = calloc(group->count, sizeof(*results));
    if (!fds || !results)
        return err_set(err, ErrOutOfResources, ENOMEM, "the overlays cannot be made durable");
    for (size_t i = 0; i < group->count; i++)
        fds[i] = fd_of(&group->members[i]);
    file_sync_all(fds, group->count, results);
    for (size_t i = 0; i < group->count; i++)
        if (results[i]) {
            *failed_member = i;
            return err_set(err, ErrOpenFileFailed, -results[i],
                           "snapshot_file '%s' cannot be made durable",
                           group->members[i].place.path);
        }
    return 0;
}

static int member_overlay_fd(const struct member *member)
{
    return member->overlay->fd;
}

static int member_directory_fd(const struct member *member)
{
    return member->place.dirfd;
}

int group_sync_overlays(struct group *group, size_t *failed_member, struct err *err)
{
    return group_sync(group, member_overlay_fd, failed_member, err);
}

int group_sync_directories(struct group *group, size_t *failed_member, struct err *err)
{
    return group_sync(group, member_directory_fd, failed_member, err);
}
