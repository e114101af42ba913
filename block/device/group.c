/* SPDX-License-Identifier: Apache-2.0
 *
 * The group transaction: what block.h promises of group_begin ... group_free.
 *
 *   begin    for each member in list order: find and hold its device, look at where its overlay
 *            goes. Nothing is touched.
 *   prepare  for each member in list order: flush the image to be frozen, stage the overlay, give it
 *            that image's permissions, open it on top of that image; sync all overlays at once; then for each: publish its name; sync
 *            each directory.
 *   pivot    raise every fence; drain every fence; swap every top; lower every fence.
 *   finish   make the frozen images durable and read-only. A failed sync fails the device; anything
 *            else is tried again by its next flush, and nobody who uses it is told
 *   abort    take away the names that prepare published, then those it staged.
 *
 * Invariants:
 *   1. Between the first fence_raise and the last fence_lower only memory is touched and nothing can
 *      fail.
 *   2. All fences are drained before the first top is swapped, and all tops swapped before the first
 *      fence is lowered: no change is under way anywhere while any device has the one top and another
 *      the other.
 *   3. A file is removed only if this group made it: its staged name has the group's id.
 *   4. Two pivots at once have no device in common and wait for nobody but the changes inside the fences
 *      of their own members: member_hold() gives a device to one group, which holds it until
 *      group_free(), and refuses a group that names it twice. A change is inside one fence only and
 *      waits for no other. So there is no lock over all cuts, no order of fences to keep and no
 *      deadlock, and a member that is slow is slow for its own group.
 *   5. An overlay is claimed (file-table.h) before it has a name, so that no one else ever opens it.
 *   6. What is frozen is marked before it stops to be claimed by a writer, so that nobody ever gets to
 *      write it in between.
 *
 * One thread runs a group. Devices are held (`holder`) from begin to free.
 */
#include "base/log.h"
#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/device/retry.h"
#include "block/image/access.h"
#include "block/image/stage.h"
#include "block/image/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <uuid/uuid.h>

/* The longest backing file name that a qcow2 header may hold (qcow2 specification, "Header"). */
enum { BACKING_NAME_MAX = 1023 };

struct member {
    struct device *device; /* held */
    const struct driver *driver;
    struct image_place place;
    char *backing_name;   /* as it is to stand in the overlay's header */
    char *backing_file;   /* absolute */
    struct node *overlay; /* open, on top of the device's top; the device's after the pivot */
    struct node *frozen;  /* the old top, after the pivot */
    bool is_staged;
    bool is_published;
    struct frozen_file *files;  /* that the group freezes and nobody had */
    struct frozen_mark **marks; /* one for each; the file table's after the pivot */
    size_t file_count;
    uint64_t pause_us;
};

struct group {
    struct block *block;
    unsigned char id[OWNER_ID_BYTES];
    char text[UUID_STR_LEN];
    bool is_pivoted;
    size_t count;
    struct member members[];
};

/* ---- begin ---- */

static int group_check_list(const struct group_member *members, size_t count, struct err *err)
{
    if (count == 0)
        return err_set(err, ErrEmptyGroup, 0, "a snapshot group needs at least one device");
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(members[i].device, members[j].device) == 0)
                return err_set(err, ErrDuplicateDevice, 0,
                               "device '%s' is named twice, at positions %zu and %zu",
                               members[i].device, j, i);
    return 0;
}

/* Finds the member's device and holds it for the group. */
static int member_hold(struct group *group, struct member *member, const char *name,
                       struct err *err)
{
    retry_now(group->block, name);
    LOCK_GUARD(&group->block->lock);
    struct device *device = registry_find_locked(group->block, name);
    if (!device || !device->exported)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    if (*device->holder)
        return err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %s", name, device->holder);
    if (device_has_failed(device))
        return err_set(err, ErrDeviceFailed, 0, "device '%s' failed and cannot be frozen", name);
    if (device->read_only)
        return err_set(err, ErrDeviceIsReadOnly, 0,
                       "device '%s' is read-only: it cannot change, so there is nothing to freeze",
                       name);
    snprintf(device->holder, sizeof(device->holder), "snapshot group %s", group->text);
    member->device = device;
    return 0;
}

static int member_check_format(struct member *member, const char *format, struct err *err)
{
    member->driver = driver_find(format);
    if (!member->driver)
        return err_set(err, ErrInvalidBlockFormat, 0, "unknown format '%s', use qcow2", format);
    if (!member->driver->supports_backing || !member->driver->create)
        return err_set(err, ErrInvalidBlockFormat, 0,
                       "format '%s' cannot be an overlay: it records no backing file, use qcow2",
                       format);
    return 0;
}

/* Whose active image or backing file is that? "" if nobody's. */
static void group_name_user(struct group *group, const struct stat *st, char *text, size_t bytes)
{
    char user[USER_BYTES];
    bool is_writer;
    *text = 0;
    if (file_table_user(group->block->files, st->st_dev, st->st_ino, user, sizeof(user),
                        &is_writer))
        snprintf(text, bytes, " and is %s of %s",
                 is_writer ? "the active image" : "a backing file or a read-only image", user);
}

/* Looks at where the overlay is to go, as far as that is possible without making it. */
static int member_check_place(struct group *group, struct member *member, const char *path,
                              struct err *err)
{
    struct image_place *place = &member->place;
    if (image_place_open(&group->block->dir, path, place, err) != 0)
        return -1;
    for (struct member *other = group->members; other < member; other++)
        if (strcmp(other->place.path, place->path) == 0)
            return err_set(err, ErrOpenFileFailed, EEXIST,
                           "snapshot_file '%s' is named twice in this group", place->path);
    struct stat st;
    if (fstatat(place->dirfd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        char user[128] = "";
        if (fstatat(place->dirfd, place->name, &st, 0) == 0) /* what a link leads to */
            group_name_user(group, &st, user, sizeof(user));
        return err_set(err, ErrOpenFileFailed, EEXIST, "snapshot_file '%s' cannot be created%s",
                       place->path, user);
    }
    if (errno != ENOENT)
        return err_set(err, ErrOpenFileFailed, errno, "snapshot_file '%s' cannot be created",
                       place->path);
    if (faccessat(place->dirfd, ".", W_OK, AT_EACCESS) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "snapshot_file '%s' cannot be created",
                       place->path);
    return 0;
}

/* What is frozen with the member; the marks are made while memory may still run out. */
static int member_list_files(struct group *group, struct member *member, const struct node *top)
{
    if (opener_list_unfrozen(group->block, top, &member->files, &member->file_count) != 0)
        return -1;
    member->marks = calloc(member->file_count + 1, sizeof(struct frozen_mark *));
    if (!member->marks)
        return -1;
    struct frozen_mark **mark = member->marks;
    for (const struct frozen_file *file = member->files; file < member->files + member->file_count;
         file++, mark++) {
        struct identity identity = {.is_lasting = true};
        memcpy(identity.text, file->identity, sizeof(identity.text));
        *mark = frozen_mark_new(&identity, file->path);
        if (!*mark)
            return -1;
    }
    return 0;
}

static int member_look_at_backing(struct group *group, struct member *member, struct err *err)
{
    CLEANUP(node) struct node *top = device_top(member->device);
    /* The overlay names its backing file by path, and a restart opens all of them by theirs. */
    if (opener_check_in_place(top, err) != 0)
        return -1;
    size_t images = 0;
    for (const struct node *node = top; node; node = node->backing)
        images++;
    if (images == CHAIN_NODES_MAX)
        return err_set(err, ErrOpenFileFailed, EMLINK,
                       "device '%s' has %zu images in its chain already, and no more can be opened",
                       member->device->name, images);
    CLEANUP_FREE char *directory =
        strndup(member->place.path, (size_t)(member->place.name - member->place.path) - 1);
    if (directory)
        member->backing_name = image_relative(*directory ? directory : "/", node_used_path(top));
    member->backing_file = strdup(node_used_path(top));
    if (!member->backing_name || !member->backing_file ||
        member_list_files(group, member, top) != 0)
        return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be frozen",
                       member->device->name);
    if (strlen(member->backing_name) > BACKING_NAME_MAX)
        return err_set(
            err, ErrOpenFileFailed, ENAMETOOLONG,
            "snapshot_file '%s' cannot name its backing file in %d bytes; put it nearer to "
            "that",
            member->place.path, BACKING_NAME_MAX);
    return 0;
}

static int member_begin(struct group *group, struct member *member, const struct group_member *spec,
                        struct err *err)
{
    if (member_hold(group, member, spec->device, err) != 0)
        return -1;
    if (member_check_format(member, spec->format, err) != 0)
        return -1;
    if (member_check_place(group, member, spec->snapshot_file, err) != 0)
        return -1;
    return member_look_at_backing(group, member, err);
}

struct group *group_begin(struct block *block, const unsigned char id[OWNER_ID_BYTES],
                          const struct group_member *members, size_t count, size_t *failed_member,
                          struct err *err)
{
    *failed_member = SIZE_MAX;
    if (group_check_list(members, count, err) != 0)
        return NULL;
    struct group *group = calloc(1, sizeof(*group) + count * sizeof(group->members[0]));
    if (!group) {
        err_set(err, ErrOutOfResources, ENOMEM, "a group of %zu members cannot be begun", count);
        return NULL;
    }
    group->block = block;
    memcpy(group->id, id, OWNER_ID_BYTES);
    uuid_unparse_lower(id, group->text);
    for (size_t i = 0; i < count; i++) {
        group->members[i].place = (struct image_place)IMAGE_PLACE_INIT;
        group->count = i + 1;
        if (member_begin(group, &group->members[i], &members[i], err) != 0) {
            *failed_member = i;
            group_free(group);
            return NULL;
        }
    }
    return group;
}

/* ---- prepare ---- */

/* The image to be frozen, flushed while everything still runs: little is left to flush, and a disk
 * that fails now fails the attempt, not the snapshot. */
static int member_flush(struct member *member, struct err *err)
{
    int ret = device_flush(member->device);
    if (ret == 0)
        return 0;
    enum err_code code = device_has_failed(member->device) ? ErrDeviceFailed : ErrOpenFileFailed;
    return err_set(err, code, -ret, "device '%s' cannot be flushed before it is frozen",
                   member->device->name);
}

static struct file_claim *member_claim(const struct group *group, const struct member *member,
                                       int fd, struct err *err)
{
    struct stat st;
    char user[USER_BYTES];
    opener_user(member->device, user);
    if (fstat(fd, &st) == 0)
        return file_table_claim(
            group->block->files,
            &(struct file_use){st.st_dev, st.st_ino, member->place.path, false, user}, err);
    err_set(err, ErrOpenFileFailed, errno, "snapshot_file '%s' cannot be examined",
            member->place.path);
    return NULL;
}

/* Writes the overlay under its staged name and opens it. */
static int member_stage(struct group *group, struct member *member, struct err *err)
{
    if (member_flush(member, err) != 0)
        return -1;
    CLEANUP(claim) struct file_claim *claim = NULL; /* goes after the descriptor */
    CLEANUP_CLOSE int fd = stage_create(&member->place, group->id, err);
    if (fd < 0)
        return -1;
    member->is_staged = true;
    CLEANUP(node) struct node *top = device_top(member->device);
    const struct image_spec spec = {
        .size_bytes = top->size_bytes,
        .cluster_bytes = member->device->overlay_shape.cluster_bytes,
        .extended_l2 = member->device->overlay_shape.extended_l2,
        .backing_file = member->backing_name,
        .backing_format = top->driver->name,
        .group_id = group->id,
    };
    struct err cause;
    if (member->driver->create(fd, &spec, &cause) != 0) {
        err_set(err, cause.code, 0, "snapshot_file '%s' cannot be created: %s", member->place.path,
                cause.message);
        err->errnum = cause.errnum;
        return -1;
    }
    if (access_copy(fd, top->fd, member->place.path, err) != 0)
        return -1;
    claim = member_claim(group, member, fd, err);
    if (!claim)
        return -1;
    member->overlay = node_open(fd, member->place.path, member->driver, false, top, err);
    if (!member->overlay)
        return -1;
    steal_fd(&fd);
    node_add_claim(member->overlay, steal(claim));
    return node_add_journal(member->overlay, journal_dir_fd(group->block->journals), err);
}

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

static int member_publish(struct group *group, struct member *member, struct err *err)
{
    if (stage_publish(&member->place, group->id, true, err) != 0)
        return -1;
    member->is_published = true;
    return stage_settle(&member->place, group->id, err);
}

int group_prepare(struct group *group, size_t *failed_member, struct err *err)
{
    *failed_member = SIZE_MAX;
    for (size_t i = 0; i < group->count; i++)
        if (member_stage(group, &group->members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    if (group_sync(group, member_overlay_fd, failed_member, err) != 0)
        return -1;
    for (size_t i = 0; i < group->count; i++)
        if (member_publish(group, &group->members[i], err) != 0) {
            *failed_member = i;
            return -1;
        }
    return group_sync(group, member_directory_fd, failed_member, err);
}

/* ---- pivot: nothing below, up to finish, can fail ---- */

static uint64_t group_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void group_pivot(struct group *group, uint64_t *cut_at_us, uint64_t *pause_us)
{
    struct member *end = group->members + group->count;
    for (struct member *member = group->members; member < end; member++)
        fence_raise(&member->device->fence);
    for (struct member *member = group->members; member < end; member++)
        fence_drain(&member->device->fence);
    *cut_at_us = group_now_us();
    for (struct member *member = group->members; member < end; member++)
        member->frozen = device_swap_top(member->device, member->overlay);
    *pause_us = 0;
    for (struct member *member = group->members; member < end; member++) {
        member->pause_us = fence_lower(&member->device->fence);
        if (member->pause_us > *pause_us)
            *pause_us = member->pause_us;
    }
    group->is_pivoted = true;
    for (struct member *member = group->members; member < end; member++)
        for (size_t i = 0; i < member->file_count; i++)
            file_table_freeze(group->block->files, steal(member->marks[i]));
}

void group_finish(struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        int ret = device_freeze(member->device);
        if (ret && !device_has_failed(member->device))
            log_warning("frozen image '%s' is not durable yet: %s; the next flush of device '%s' "
                        "tries again",
                        member->frozen->path, strerror(-ret), member->device->name);
    }
}

/* ---- the other way ---- */

/* The published name goes only if it still is the file that was staged. */
static int member_unpublish(struct member *member, struct err *err)
{
    struct stat st;
    if (fstatat(member->place.dirfd, member->place.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0
                               : err_set(err, ErrOpenFileFailed, errno, "'%s' cannot be removed",
                                         member->place.path);
    if (st.st_dev != member->overlay->dev || st.st_ino != member->overlay->ino)
        return 0;
    if (unlinkat(member->place.dirfd, member->place.name, 0) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "'%s' cannot be removed", member->place.path);
    return 0;
}

static int member_abort(struct group *group, struct member *member, struct err *err)
{
    int ret = 0;
    if (member->is_published)
        ret = member_unpublish(member, err);
    if (member->is_staged && stage_settle(&member->place, group->id, err) != 0)
        ret = -1;
    if (member->overlay)
        node_unref(steal(member->overlay));
    if (ret == 0 && member->is_staged && fsync(member->place.dirfd) != 0)
        ret = err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable",
                      member->place.path);
    return ret;
}

int group_abort(struct group *group, struct err *err)
{
    int ret = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->members[i].device && member_abort(group, &group->members[i], err) != 0)
            ret = -1;
    return ret;
}

void group_member_info(const struct group *group, size_t position, struct group_member_info *info)
{
    const struct member *member = &group->members[position];
    CLEANUP(node) struct node *top = device_top(member->device);
    const struct node *backing = group->is_pivoted ? member->frozen : top;
    *info = (struct group_member_info){
        .backing_file = member->backing_file,
        .backing_format = backing->driver->name,
        .backing_identity = backing->identity.text,
        .snapshot_file = member->place.path,
        .snapshot_identity = member->overlay ? member->overlay->identity.text : "",
        .frozen_files = member->files,
        .frozen_count = member->file_count,
        .pause_us = member->pause_us,
    };
}

static void member_free(struct group *group, struct member *member)
{
    if (member->device) {
        LOCK_GUARD(&group->block->lock);
        *member->device->holder = 0;
    }
    if (member->frozen)
        node_unref(member->frozen);
    else if (member->overlay)
        node_unref(member->overlay);
    image_place_close(&member->place);
    for (size_t i = 0; member->marks && i < member->file_count; i++)
        frozen_mark_free(member->marks[i]);
    free(member->marks);
    frozen_files_free(member->files, member->file_count);
    free(member->backing_name);
    free(member->backing_file);
}

void group_free(struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        member_free(group, &group->members[i]);
    free(group);
}

/* ---- recovery ---- */

/* Unlinks the overlay if its header says that `id` made it. */
static int overlay_unlink(const struct image_place *place, const struct driver *driver,
                          const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    CLEANUP_CLOSE int fd =
        openat(place->dirfd, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP
                   ? 0
                   : err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be opened",
                             place->path);
    unsigned char found[OWNER_ID_BYTES];
    int ret = driver->group_id(fd, found);
    if (ret == -EIO)
        return err_set(err, ErrOpenFileFailed, EIO, "overlay '%s' cannot be read", place->path);
    if (ret == 0 && memcmp(found, id, OWNER_ID_BYTES) == 0 &&
        unlinkat(place->dirfd, place->name, 0) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "overlay '%s' cannot be removed",
                       place->path);
    return 0;
}

int block_overlay_discard(struct block *block, const char *path, const char *directory,
                          const char *format, const unsigned char id[OWNER_ID_BYTES],
                          struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    const struct driver *driver = driver_find(format);
    if (!driver || !driver->group_id)
        return 0; /* no overlay of this format can have been made */
    int found = image_place_find(&block->dir, path, directory, &place, err);
    if (found <= 0)
        return found;
    if (stage_discard(&place, id, err) != 0 || overlay_unlink(&place, driver, id, err) != 0)
        return -1;
    /* Also if there was nothing: who unlinked it may have been killed before this. */
    if (fsync(place.dirfd) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "removal of '%s' is not durable", place.path);
    return 0;
}
