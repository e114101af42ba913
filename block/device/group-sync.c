/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-sync.h.
 */
#include "block/device/group-sync.h"

#include "block/image/sync.h"

#include <errno.h>
#include <unistd.h>

/* The descriptors to sync, and whose they are, in list order. */
struct syncs {
    size_t count;
    int *fds, *results;
    const struct member **members;
};

static void syncs_free(struct syncs *syncs)
{
    free(syncs->fds);
    free(syncs->results);
    free(syncs->members);
    free(syncs);
}
CLEANUP_DEFINE(syncs, struct syncs *, syncs_free)

static struct syncs *syncs_new(size_t most, struct err *err)
{
    CLEANUP(syncs) struct syncs *syncs = calloc(1, sizeof(*syncs));
    if (syncs) {
        syncs->fds = calloc(most, sizeof(*syncs->fds));
        syncs->results = calloc(most, sizeof(*syncs->results));
        syncs->members = calloc(most, sizeof(*syncs->members));
        if (syncs->fds && syncs->results && syncs->members)
            return steal(syncs);
    }
    err_set(err, ErrOutOfResources, ENOMEM, "the overlays cannot be made durable");
    return NULL;
}

static void syncs_add(struct syncs *syncs, const struct member *member, int fd)
{
    syncs->fds[syncs->count] = fd;
    syncs->members[syncs->count++] = member;
}

static int syncs_run(struct syncs *syncs, const struct group *group, size_t *failed_member,
                     struct err *err)
{
    file_sync_all(syncs->fds, syncs->count, syncs->results);
    for (size_t i = 0; i < syncs->count; i++)
        if (syncs->results[i]) {
            *failed_member = (size_t)(syncs->members[i] - group->members);
            return err_set(err, ErrOpenFileFailed, -syncs->results[i],
                           "snapshot_file '%s' cannot be made durable",
                           syncs->members[i]->place.path);
        }
    return 0;
}

int group_sync_overlays(struct group *group, size_t *failed_member, struct err *err)
{
    CLEANUP(syncs) struct syncs *syncs = syncs_new(group->count, err);
    if (!syncs)
        return -1;
    for (size_t i = 0; i < group->count; i++)
        syncs_add(syncs, &group->members[i], group->members[i].overlay->fd);
    return syncs_run(syncs, group, failed_member, err);
}

/* Whether names changed in the member's directory, and it is the first such one in the list. */
static bool member_is_first_of_directory(const struct group *group, const struct member *member)
{
    if (!member->names_changed)
        return false;
    for (const struct member *other = group->members; other < member; other++)
        if (other->names_changed && other->directory_dev == member->directory_dev &&
            other->directory_ino == member->directory_ino)
            return false;
    return true;
}

int group_sync_directories(struct group *group, size_t *failed_member, struct err *err)
{
    CLEANUP(syncs) struct syncs *syncs = syncs_new(group->count, err);
    if (!syncs)
        return -1;
    for (size_t i = 0; i < group->count; i++)
        if (member_is_first_of_directory(group, &group->members[i]))
            syncs_add(syncs, &group->members[i], group->members[i].place.dirfd);
    return syncs_run(syncs, group, failed_member, err);
}

/* One after the other: there is nothing to allocate. */
int group_sync_removals(struct group *group, struct err *err)
{
    int ret = 0;
    for (size_t i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        if (member_is_first_of_directory(group, member) && fsync(member->place.dirfd) != 0)
            ret = err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable",
                          member->place.path);
    }
    return ret;
}
