/* SPDX-License-Identifier: Apache-2.0
 *
 * One member of a group transaction. See member.h.
 *
 *   I1. A file is removed only if this group made it: its staged name has the group's id, and the
 *       file under its final name is the overlay. No assert: others may change the directory.
 *   I2. An overlay is claimed (file-table.h) before it has a name, so no other user can open it.
 *   I3. A device is held by one group at most, from member_begin() to member_release().
 *   I4. A member is released only after its old top is frozen, or when nothing is cut, or when the
 *       block layer stops: its device is in no second cut before.
 */
#include "block/device/member.h"

#include "base/hash-table.h"
#include "base/log.h"
#include "block/device/exports.h"
#include "block/device/opener.h"
#include "block/device/registry.h"
#include "block/device/retry.h"
#include "block/device/users.h"
#include "block/frozen.h"
#include "block/image/access.h"
#include "block/image/drivers.h"
#include "block/image/stage.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Whether the device, which is found, can be a member. */
static int device_check_locked(const struct group *group, struct device *device, struct err *err)
{
    if (*device->holder)
        return device_report_holder(device, err);
    if (device_has_failed(device))
        return err_set(err, ErrDeviceFailed, retry_is_scheduled(device) ? EAGAIN : 0,
                       "device '%s' failed and cannot be frozen", device->name);
    if (device->read_only)
        return err_set(err, ErrDeviceIsReadOnly, 0,
                       "device '%s' is read-only: it cannot change, so there is nothing to freeze",
                       device->name);
    if (group->is_rollback && device->clients && !group->disconnects)
        return export_report_clients(device, err);
    return 0;
}

/* Finds the member's device and holds it for the group. */
static int member_hold(struct group *group, struct member *member, const char *name,
                       struct err *err)
{
    retry_now(group->block, name);
    LOCK_GUARD(&group->block->lock);
    struct device *device = registry_await_locked(group->block, name);
    if (!device || !device->exported)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    if (device_check_locked(group, device, err) != 0)
        return -1;
    if (group->is_rollback && !group->is_plan)
        export_close_locked(device);
    if (group->is_plan)
        device->lookers++;
    else
        snprintf(device->holder, sizeof(device->holder), DEVICE_HELD_BY_GROUP "%s", group->text);
    member->device = device;
    if (!group->is_plan)
        device_await_collapse_locked(group->block, device);
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
    struct image_user user;
    *text = 0;
    if (image_user_find(group->block, st->st_dev, st->st_ino, NULL, &user))
        snprintf(text, bytes, " and is %s of device '%s'",
                 user.is_writer ? "the active image" : "a backing file or a read-only image",
                 user.device);
}

/* Fails if an earlier member names the same file. */
static int member_check_path(struct group *group, struct member *member, struct err *err)
{
    member->path_hash = hash_text(member->place.path);
    for (const struct member *other = group->members; other < member; other++)
        if (other->path_hash == member->path_hash &&
            strcmp(other->place.path, member->place.path) == 0)
            return err_set(err, ErrOpenFileFailed, EEXIST,
                           "snapshot_file '%s' is named twice in this group", member->place.path);
    return 0;
}

/* Whether both paths, as they are written, name files of one directory. */
static bool paths_are_beside(const char *path, const char *other)
{
    const char *slash = strrchr(path, '/');
    const char *other_slash = strrchr(other, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (!slash || !other_slash)
        return !slash && !other_slash;
    return (size_t)(other_slash - other) == length && memcmp(path, other, length) == 0;
}

/* In the directory of the member before it, if it names that one in the same way. */
static int member_open_place(struct group *group, struct member *member,
                             const struct group_member *spec, struct err *err)
{
    const char *path = spec->snapshot_file;
    member->is_beside =
        member > group->members && paths_are_beside(path, (spec - 1)->snapshot_file);
    return member->is_beside
               ? image_place_open_beside(&(member - 1)->place, path, &member->place, err)
               : image_place_open(&group->block->dir, path, &member->place, err);
}

static void member_share_directory(struct member *member, const struct member *other)
{
    member->directory_dev = other->directory_dev;
    member->directory_ino = other->directory_ino;
    member->directory = other->directory;
}

/* Members of one directory share what was found out about it. 0 or -errno. */
static int member_examine_directory(struct group *group, struct member *member)
{
    if (member->is_beside) {
        member_share_directory(member, member - 1);
        return 0;
    }
    struct stat st;
    if (fstat(member->place.dirfd, &st) != 0)
        return -errno;
    member->directory_dev = st.st_dev;
    member->directory_ino = st.st_ino;
    for (const struct member *other = group->members; other < member; other++)
        if (other->directory_dev == st.st_dev && other->directory_ino == st.st_ino) {
            member_share_directory(member, other);
            return 0;
        }
    return identity_of(member->place.dirfd, &member->directory);
}

/* Fails if the overlay cannot be created there, as far as that is known without making it. */
static int member_check_free(struct group *group, const struct member *member, struct err *err)
{
    const struct image_place *place = &member->place;
    struct stat st;
    if (fstatat(place->dirfd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        char user[128] = "";
        if (fstatat(place->dirfd, place->name, &st, 0) == 0) /* what a link leads to */
            group_name_user(group, &st, user, sizeof(user));
        return err_set(err, ErrOpenFileFailed, EEXIST, "snapshot_file '%s' cannot be created%s",
                       place->path, user);
    }
    bool is_free = errno == ENOENT;
    if (is_free && (member->is_beside || faccessat(place->dirfd, ".", W_OK, AT_EACCESS) == 0))
        return 0;
    return err_set(err, ErrOpenFileFailed, errno, "snapshot_file '%s' cannot be created",
                   place->path);
}

/* Looks at where the overlay is to go. */
static int member_check_place(struct group *group, struct member *member,
                              const struct group_member *spec, struct err *err)
{
    if (member_open_place(group, member, spec, err) != 0 ||
        member_check_path(group, member, err) != 0)
        return -1;
    int ret = member_examine_directory(group, member);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "snapshot_file '%s' cannot be created",
                       member->place.path);
    return member_check_free(group, member, err);
}

/* What is frozen with the member; the marks are made while memory may still run out. */
static int member_list_files(struct group *group, struct member *member, const struct node *top)
{
    READERS_GUARD(&group->block->walkers);
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

static bool chain_has(const struct held_chain *chain, const struct node *image)
{
    for (size_t i = 0; i < chain->count; i++)
        if (chain->nodes[i]->dev == image->dev && chain->nodes[i]->ino == image->ino)
            return true;
    return false;
}

/* Opens the image that the member is rolled back to. */
static int member_open_base(struct group *group, struct member *member,
                            const struct group_base *base, struct err *err)
{
    CLEANUP_OPENING struct opening opening = OPENING_OF(group->block);
    member->base = opener_open_image(&opening, base->image, base->format, base->identity, err);
    if (!member->base)
        return -1;
    LOCK_GUARD(&group->block->lock);
    if (!group->is_plan)
        member->device->base = member->base;
    return 0;
}

static int member_report_memory(const struct member *member, struct err *err)
{
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be frozen",
                   member->device->name);
}

/* `top`: the chain of the device; *below: what the overlay is to be on, with all beneath that. */
static int member_hold_base(struct group *group, struct member *member,
                            const struct group_base *base, const struct held_chain *top,
                            struct held_chain *below, struct err *err)
{
    if (member_open_base(group, member, base, err) != 0)
        return -1;
    if (held_chain_begin(group->block, member->base, below) != 0)
        return member_report_memory(member, err);
    for (size_t i = 0; i < below->count; i++)
        if (chain_has(top, below->nodes[i]))
            return 0;
    return err_set(err, ErrNotRelated, 0,
                   "device '%s' has no image in common with '%s': it is not the device that was "
                   "frozen, or its disk was copied since",
                   member->device->name, member->base->path);
}

static int member_check_growth(const struct member *member, const struct node *top, struct err *err)
{
    assert(!member->base);
    if (member->size_bytes > top->size_bytes && member->size_bytes <= DEVICE_SIZE_MAX_BYTES &&
        member->size_bytes % BLOCK_SECTOR_BYTES == 0)
        return 0;
    return err_set(err, ErrInvalidValue, 0,
                   "device '%s' has %llu bytes; it can only become larger, by whole sectors, up to "
                   "%llu bytes",
                   member->device->name, (unsigned long long)top->size_bytes,
                   (unsigned long long)DEVICE_SIZE_MAX_BYTES);
}

static int member_check_length(const struct member *member, const struct held_chain *below,
                               struct err *err)
{
    return below->count < CHAIN_NODES_MAX
               ? 0
               : err_set(err, ErrOpenFileFailed, EMLINK,
                         "device '%s' has %zu images in its chain already, and no more can be "
                         "opened",
                         member->device->name, below->count);
}

static int member_look_at_backing(struct group *group, struct member *member,
                                  const struct group_base *base, struct err *err)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0}, other = {NULL, 0};
    if (held_chain_of(group->block, member->device, &chain) != 0)
        return member_report_memory(member, err);
    if (base && member_hold_base(group, member, base, &chain, &other, err) != 0)
        return -1;
    const struct held_chain *below = base ? &other : &chain;
    const struct node *top = chain.nodes[0];
    if (member->size_bytes && member_check_growth(member, top, err) != 0)
        return -1;
    if ((group->is_plan && opener_check_in_place(&chain, err) != 0) ||
        member_check_length(member, below, err) != 0)
        return -1;
    member->backing_name = image_backing_name(&member->place, node_used_path(below->nodes[0]), err);
    if (!member->backing_name)
        return -1;
    member->backing_file = strdup(node_used_path(top));
    return member->backing_file && member_list_files(group, member, top) == 0
               ? 0
               : member_report_memory(member, err);
}

int member_begin(struct group *group, struct member *member, const struct group_member *spec,
                 struct err *err)
{
    member->size_bytes = spec->size_bytes;
    if (member_hold(group, member, spec->device, err) != 0)
        return -1;
    if (member_check_format(member, spec->format, err) != 0)
        return -1;
    if (member_check_place(group, member, spec, err) != 0)
        return -1;
    return member_look_at_backing(group, member, spec->base, err);
}

/* The overlay names its backing file by path, and a restart opens all of them by theirs. */
static int member_check_in_place(struct group *group, const struct member *member, struct err *err)
{
    CLEANUP_HELD_CHAIN struct held_chain chain = {NULL, 0};
    return held_chain_of(group->block, member->device, &chain) == 0
               ? opener_check_in_place(&chain, err)
               : member_report_memory(member, err);
}

void member_ready(struct group *group, struct member *member)
{
    struct err err;
    member->flushed = device_flush(member->device);
    member->is_in_place = member_check_in_place(group, member, &err) == 0;
}

int member_check_ready(struct group *group, const struct member *member, struct err *err)
{
    if (member->flushed == 0)
        return member->is_in_place ? 0 : member_check_in_place(group, member, err);
    enum err_code code = device_has_failed(member->device) ? ErrDeviceFailed : ErrOpenFileFailed;
    return err_set(err, code, -member->flushed, "device '%s' cannot be flushed before it is frozen",
                   member->device->name);
}

static struct file_claim *member_claim(const struct group *group, const struct member *member,
                                       int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) == 0)
        return file_table_claim(group->block->files,
                                &(struct file_use){st.st_dev, st.st_ino, member->place.path, false},
                                err);
    err_set(err, ErrOpenFileFailed, errno, "snapshot_file '%s' cannot be examined",
            member->place.path);
    return NULL;
}

/* The device's after the cut, which allocates nothing. */
static int member_add_index(struct group *group, struct member *member, struct err *err)
{
    struct block *block = group->block;
    member->index = index_new(&block->index_memory, &block->cut, member->overlay);
    return member->index ? 0
                         : err_set(err, ErrOutOfResources, ENOMEM,
                                   "device '%s' cannot be rolled back", member->device->name);
}

static int member_add_room(struct member *member, struct err *err)
{
    member->room = index_room_new(member->size_bytes);
    return member->room ? 0
                        : err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot grow",
                                  member->device->name);
}

/* What the device gets for the cut, which allocates nothing. */
static int member_add_memory(struct group *group, struct member *member, struct err *err)
{
    if (member->size_bytes && member_add_room(member, err) != 0)
        return -1;
    return member->base ? member_add_index(group, member, err) : 0;
}

/* The overlay; larger disks may need larger clusters. */
static struct image_spec member_spec(const struct group *group, const struct member *member,
                                     const struct node *below)
{
    const uint64_t size_bytes = member->size_bytes ? member->size_bytes : below->size_bytes;
    struct cluster_shape shape = member->device->overlay_shape;
    if (member->size_bytes)
        shape = driver_overlay_shape(shape, size_bytes);
    return (struct image_spec){
        .size_bytes = size_bytes,
        .cluster_bytes = shape.cluster_bytes,
        .extended_l2 = shape.extended_l2,
        .backing_file = member->backing_name,
        .backing_format = below->driver->name,
        .group_id = group->id,
    };
}

/* Writes the overlay's header; the file is as accessible as the one below. */
static int member_create(const struct group *group, const struct member *member, int fd,
                         const struct node *below, struct err *err)
{
    const struct image_spec spec = member_spec(group, member, below);
    struct err cause;
    if (member->driver->create(fd, &spec, &cause) != 0) {
        err_set(err, cause.code, 0, "snapshot_file '%s' cannot be created: %s", member->place.path,
                cause.message);
        err->errnum = cause.errnum;
        return -1;
    }
    return access_copy(fd, below->fd, member->place.path, err);
}

int member_stage(struct group *group, struct member *member, struct err *err)
{
    CLEANUP(claim) struct file_claim *claim = NULL; /* goes after the descriptor */
    CLEANUP_CLOSE int fd = stage_create(&member->place, group->id, err);
    if (fd < 0)
        return -1;
    member->is_staged = true;
    CLEANUP(node)
    struct node *below = member->base ? node_ref(member->base) : device_top(member->device);
    if (member_create(group, member, fd, below, err) != 0)
        return -1;
    claim = member_claim(group, member, fd, err);
    if (!claim)
        return -1;
    member->overlay = node_open(fd, member->place.path, member->driver, false, below, err);
    if (!member->overlay)
        return -1;
    steal_fd(&fd);
    node_add_claim(member->overlay, steal(claim));
    if (node_add_journal(member->overlay, journal_dir_fd(group->block->journals), err) != 0)
        return -1;
    return member_add_memory(group, member, err);
}

int member_publish(struct group *group, struct member *member, struct err *err)
{
    assert(member->is_staged && member->overlay->claim); /* I2 */
    member->is_published = true;
    member->names_changed = true;
    return stage_publish_kept(&member->place, group->id, err);
}

/* ---- after the cut ---- */

static void member_assert_state(const struct member *member)
{
    bool is_cut = member->state != MEMBER_HELD && member->state != MEMBER_RELEASED;
    const struct node *below = member->base ? member->base : member->frozen;
    assert(!is_cut || (member->frozen && member->overlay->backing == below));
    assert((member->state == MEMBER_RELEASED) == !member->device);
    assert(member->state != MEMBER_FROZEN || member->base ||
           atomic_load(&member->frozen->read_only)); /* I4 */
    (void)is_cut, (void)below;
}

void member_enter_state(struct member *member, enum member_state state)
{
    assert(state == member->state + 1 || state == MEMBER_RELEASED);
    member->state = state;
    member_assert_state(member);
}

uint64_t member_seal(struct member *member)
{
    assert(member->state == MEMBER_UNSEALED);
    return device_seal(member->device);
}

bool member_freeze(struct member *member, bool is_first)
{
    assert(member->state == MEMBER_SEALED);
    int ret = device_freeze(member->device);
    if (atomic_load(&member->frozen->read_only))
        return true;
    assert(ret);
    if (is_first)
        log_warning("frozen image '%s' is not durable yet: %s; until it is, device '%s' is in no "
                    "other group",
                    member->frozen->path, strerror(-ret), member->device->name);
    return false;
}

/* Removes the real name if it still is the staged file's (I1). */
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

int member_abort(struct group *group, struct member *member, struct err *err)
{
    int ret = 0;
    if (member->is_published)
        ret = member_unpublish(member, err);
    if (member->is_staged && stage_keep(&member->place, group->id, err) != 0)
        ret = -1;
    if (member->index)
        index_free(steal(member->index));
    if (member->overlay)
        node_unref(steal(member->overlay));
    member->names_changed = ret == 0 && member->is_staged;
    return ret;
}

void member_release(struct group *group, struct member *member)
{
    LOCK_GUARD(&group->block->lock);
    struct device *device = steal(member->device);
    member_enter_state(member, MEMBER_RELEASED);
    if (!group->is_plan) {
        assert(*device->holder); /* I3 */
        *device->holder = 0;
        device->is_returning = false;
        pthread_cond_broadcast(&group->block->changed);
        device->base = NULL;
        if (group->is_rollback)
            export_reopen_locked(device);
        return;
    }
    assert(device->lookers > 0);
    if (--device->lookers == 0)
        pthread_cond_broadcast(&group->block->changed);
}

void member_free(struct group *group, struct member *member)
{
    if (member->device)
        member_release(group, member);
    if (member->frozen)
        node_unref(member->frozen);
    else if (member->overlay)
        node_unref(member->overlay);
    if (member->base)
        node_unref(member->base);
    if (member->room)
        index_room_free(member->room);
    image_place_close(&member->place);
    for (size_t i = 0; member->marks && i < member->file_count; i++)
        frozen_mark_free(member->marks[i]);
    free(member->marks);
    frozen_files_free(member->files, member->file_count);
    free(member->backing_name);
    free(member->backing_file);
}
