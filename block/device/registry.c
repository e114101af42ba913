/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by name: opening, publishing, describing, closing. See block.h and registry.h.
 *
 * A device is in the list from before its chain is opened (the name is taken) until it has been
 * flushed and is about to be closed; exports see it only while `published`. What its files may be
 * used for by others is the file table's business, before, meanwhile and after.
 */
#include "block/device/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct device *registry_find_locked(struct block *block, const char *name)
{
    struct device *device = block->devices;
    while (device && strcmp(device->name, name) != 0)
        device = device->next;
    return device;
}

static void registry_append_locked(struct block *block, struct device *device)
{
    struct device **slot = &block->devices;
    while (*slot)
        slot = &(*slot)->next;
    *slot = device;
}

static void registry_remove_locked(struct block *block, struct device *device)
{
    struct device **slot = &block->devices;
    while (*slot != device)
        slot = &(*slot)->next;
    *slot = device->next;
}

/* ---- who may open what ---- */

void registry_user(const struct device *device, char user[USER_BYTES])
{
    snprintf(user, USER_BYTES, "device '%s'", device->name);
}

/* Refuses to write what is frozen, and names the group if the image is offered as a member of it. */
static int registry_check_frozen(struct block *block, const struct chain_file *file,
                                 struct err *err)
{
    if (!file_table_is_frozen(block->files, &file->identity, file->path))
        return 0;
    LOCK_GUARD(&block->lock);
    const struct frozen *frozen = block->frozen;
    while (frozen && strcmp(frozen->image, file->path) != 0)
        frozen = frozen->next;
    return err_set(
        err, ErrDeviceInUse, 0,
        "image '%s' is frozen by %s%s%s; attach it read-only, or write to an overlay of it",
        file->path, frozen ? "snapshot group '" : "a snapshot group", frozen ? frozen->group : "",
        frozen ? "'" : "");
}

/* The top must be the file that was recorded: another one under its path is served to nobody, and not changed. */
static int registry_check_identity(const struct opener *opener, const struct chain_file *file,
                                   struct err *err)
{
    bool is_known = file->depth == 0 && opener->identity && *opener->identity;
    if (!is_known || !file->identity.is_lasting ||
        strcmp(opener->identity, file->identity.text) == 0)
        return 0;
    return err_set(err, ErrOpenFileFailed, 0,
                   "image '%s' is not the file that was recorded under this path: put that back",
                   file->path);
}

int registry_check_in_place(const struct node *top, struct err *err)
{
    for (const struct node *node = top; node; node = node->backing) {
        struct stat st;
        if (stat(node->path, &st) != 0)
            return err_set(err, ErrOpenFileFailed, errno,
                           "image '%s' is open, but not under this path any more", node->path);
        if (st.st_dev != node->dev || st.st_ino != node->ino)
            return err_set(err, ErrOpenFileFailed, 0,
                           "image '%s' is open, but another file is under this path", node->path);
    }
    return 0;
}

int registry_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                   struct node **node, struct err *err)
{
    const struct opener *opener = arg;
    struct block *block = opener->block;
    const struct file_use use = {file->dev, file->ino, file->path, file->read_only, opener->user};
    if (registry_check_identity(opener, file, err) != 0)
        return -1;
    *claim = file_table_claim(block->files, &use, err);
    if (!*claim || (!file->read_only && registry_check_frozen(block, file, err) != 0))
        return -1;
    return journal_recovery_admit(block->journals, &opener->terms, file, node, err);
}

static int frozen_file_fill(struct frozen_file *file, const struct node *node)
{
    memcpy(file->identity, node->identity.text, sizeof(file->identity));
    file->path = strdup(node->path);
    return file->path ? 0 : -1;
}

int registry_list_unfrozen(struct block *block, const struct node *top, struct frozen_file **files,
                           size_t *count)
{
    size_t length = 0;
    for (const struct node *node = top; node; node = node->backing)
        length++;
    *count = 0;
    *files = calloc(length + 1, sizeof(**files));
    if (!*files)
        return -1;
    for (const struct node *node = top; node; node = node->backing) {
        if (file_table_is_frozen(block->files, &node->identity, node->path))
            continue;
        if (frozen_file_fill(&(*files)[(*count)++], node) != 0) {
            frozen_files_free(steal(*files), *count);
            return -1;
        }
    }
    return 0;
}

void frozen_files_free(struct frozen_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(files[i].path);
    free(files);
}

int block_chain_files(struct block *block, const char *image, const char *format,
                      struct frozen_file **files, size_t *count, struct err *err)
{
    struct opener opener = {block, "a start", .terms.is_restored = true};
    struct chain_guard guard = {.admit = registry_admit, .arg = &opener};
    CLEANUP(node) struct node *top = chain_open(&block->dir, image, format, true, &guard, err);
    if (!top)
        return -1;
    if (registry_list_unfrozen(block, top, files, count) != 0)
        return err_set(err, ErrOutOfResources, ENOMEM, "the chain of '%s' cannot be listed", image);
    return 0;
}

int block_frozen_file_add(struct block *block, const char *identity, const char *path,
                          struct err *err)
{
    struct identity known = {.is_lasting = true};
    snprintf(known.text, sizeof(known.text), "%s", identity);
    struct frozen_mark *mark = frozen_mark_new(&known, path);
    if (!mark)
        return err_set(err, ErrOutOfResources, ENOMEM, "frozen file '%s' cannot be protected",
                       path);
    file_table_freeze(block->files, mark);
    return 0;
}

/* ---- devices ---- */

/* Takes the name: the new device is in the list, not published. */
static struct device *registry_reserve(struct block *block, const struct device_spec *spec,
                                       struct err *err)
{
    CLEANUP(device)
    struct device *device = device_new(spec->name, spec->image, spec->format, spec->read_only);
    if (!device) {
        err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
        return NULL;
    }
    device->overlay_shape = driver_overlay_shape(spec->overlay, 0);
    snprintf(device->identity, sizeof(device->identity), "%s",
             spec->identity ? spec->identity : "");
    LOCK_GUARD(&block->lock);
    if (registry_find_locked(block, spec->name)) {
        err_set(err, ErrDeviceExists, 0, "device '%s' exists already", spec->name);
        return NULL;
    }
    device->serial = ++block->serial;
    atomic_store(&device->is_unwanted, block->is_stopping);
    registry_append_locked(block, device);
    return steal(device);
}

/* Out of the list, and closed as soon as nobody looks at it any more. */
static void registry_drop(struct block *block, struct device *device)
{
    pthread_mutex_lock(&block->lock);
    registry_remove_locked(block, device);
    while (device->lookers)
        pthread_cond_wait(&block->changed, &block->lock);
    pthread_mutex_unlock(&block->lock);
    device_free(device);
}

struct node *registry_open_chain(struct block *block, const struct device *device,
                                 const struct device_spec *spec, struct err *err)
{
    char user[USER_BYTES];
    registry_user(device, user);
    struct opener opener = {
        block, user, {spec->is_restored, spec->discard_unflushed}, device->identity};
    struct chain_guard guard = {
        .is_unwanted = &device->is_unwanted, .admit = registry_admit, .arg = &opener};
    struct node *top =
        chain_open(&block->dir, spec->image, spec->format, spec->read_only, &guard, err);
    if (!top || spec->read_only ||
        node_begin_writing(top, journal_dir_fd(block->journals), err) == 0)
        return top;
    node_give_up(top);
    return NULL;
}

int block_device_open(struct block *block, const struct device_spec *spec, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    struct node *top = registry_open_chain(block, device, spec, err);
    if (!top) {
        registry_drop(block, device);
        return -1;
    }
    pthread_mutex_lock(&block->lock);
    int ret = device_set_top(device, top, &block->index_memory);
    device->overlay_shape = driver_overlay_shape(spec->overlay, top->size_bytes);
    pthread_mutex_unlock(&block->lock);
    if (ret == 0)
        return 0;
    node_give_up(top);
    registry_drop(block, device);
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be opened", spec->name);
}

bool block_device_call_off(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device || device->published || *device->holder)
        return false;
    atomic_store(&device->is_unwanted, true);
    return true;
}

void block_stop_opening(struct block *block)
{
    LOCK_GUARD(&block->lock);
    block->is_stopping = true;
    for (struct device *device = block->devices; device; device = device->next)
        atomic_store(&device->is_unwanted, true);
}

void block_device_publish(struct block *block, const char *name)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (device)
        device->published = true;
}

int block_device_open_failed(struct block *block, const struct device_spec *spec,
                             const struct err *cause, struct err *err)
{
    struct device *device = registry_reserve(block, spec, err);
    if (!device)
        return -1;
    retry_begin(block, device, cause);
    block_device_publish(block, spec->name);
    return 0;
}

/* Takes the device away from exports and groups, if none of them has it. */
static struct device *registry_claim(struct block *block, const char *name, struct err *err)
{
    LOCK_GUARD(&block->lock);
    retry_wait_locked(block, name);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    else if (device->clients)
        err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %u connected client%s", name,
                device->clients, device->clients == 1 ? "" : "s");
    else if (*device->holder)
        err_set(err, ErrDeviceInUse, 0, "device '%s' is in use by %s", name, device->holder);
    else {
        device->published = false;
        strcpy(device->holder, "a running detach");
        return device;
    }
    return NULL;
}

/* What becomes of acknowledged data that cannot be flushed. */
enum close_how {
    CLOSE_FLUSHED, /* the device stays */
    CLOSE_KEEPING, /* they stay in their journals */
    CLOSE_DISCARDING,
};

/* Whether the device may be closed in this way. The device is claimed. */
static int device_check_close(struct block *block, struct device *device, enum close_how how,
                              struct err *err)
{
    bool discard = how == CLOSE_DISCARDING;
    if (!device->top)
        return how == CLOSE_KEEPING
                   ? 0
                   : journal_recovery_sweep(block->journals, &block->dir, device->image,
                                            device->format, discard, err);
    int ret = device_has_failed(device) ? 0 : device_flush(device);
    bool is_unflushed = ret != 0;
    for (struct node *node = device->top; node; node = node->backing)
        is_unflushed |= node_is_unflushed(node);
    if (!is_unflushed || how != CLOSE_FLUSHED)
        return 0;
    return err_set(
        err, ErrUnflushedData, 0,
        "device '%s' %s%s; it stays attached: detach it with {\"discard_unflushed\": true} "
        "to give up what its images may lack",
        device->name, device_has_failed(device) ? "has failed" : "could not be flushed: ",
        device_has_failed(device) ? "" : strerror(-ret));
}

static void registry_unclaim(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    device->published = true;
    *device->holder = 0;
}

/* A device that somebody tries to open all that time is left to him: 1, or 0 if it is not being opened. */
static int registry_abandon(struct block *block, struct device *device, struct err *err)
{
    bool has_left = journal_dir_has_path(block->journals, device->image);
    LOCK_GUARD(&block->lock);
    if (!device->is_being_opened)
        return 0;
    if (has_left)
        return err_set(err, ErrDeviceInUse, 0,
                       "device '%s' is being opened, and has writes in a journal; try again",
                       device->name);
    registry_remove_locked(block, device);
    device->is_abandoned = true;
    atomic_store(&device->is_unwanted, true);
    return 1;
}

static int device_close(struct block *block, const char *name, enum close_how how, struct err *err)
{
    struct device *device = registry_claim(block, name, err);
    if (!device)
        return -1;
    int abandoned = registry_abandon(block, device, err);
    if (abandoned > 0)
        return 0;
    if (abandoned < 0 || device_check_close(block, device, how, err) != 0) {
        registry_unclaim(block, device);
        return -1;
    }
    /* Empty now, or given up; gone before somebody else can open the images. */
    for (struct node *node = device->top; node; node = node->backing)
        if (how == CLOSE_DISCARDING)
            journal_recovery_discard(block->journals, node);
        else
            node_end_journal(node, false);
    registry_drop(block, device);
    return 0;
}

int block_device_close(struct block *block, const char *name, struct err *err)
{
    return device_close(block, name, CLOSE_FLUSHED, err);
}

int block_device_abandon(struct block *block, const char *name, bool discard, struct err *err)
{
    return device_close(block, name, discard ? CLOSE_DISCARDING : CLOSE_KEEPING, err);
}

/* ---- what a device looks like ---- */

static int device_info_fill_chain(struct device_info *info, struct node *top, bool may_wait)
{
    for (const struct node *node = top; node; node = node->backing)
        info->chain_length++;
    info->chain = calloc(info->chain_length, sizeof(*info->chain));
    if (!info->chain) {
        info->chain_length = 0;
        return -1;
    }
    struct chain_image *image = info->chain;
    for (struct node *node = top; node; node = node->backing, image++) {
        *image = (struct chain_image){.image = strdup(node->path),
                                      .format = node->driver->name,
                                      .size_bytes = node->size_bytes,
                                      .allocated_bytes = node_allocated_bytes(node, may_wait)};
        memcpy(image->identity, node->identity.text, sizeof(image->identity));
        if (!image->image)
            return -1;
    }
    info->format = top->driver->name;
    info->top = strdup(top->path);
    return info->top ? 0 : -1;
}

/* What is known without looking at files; *top gets a reference, and the device a looker. */
static int device_info_begin(struct block *block, const char *name, struct device_info *info,
                             struct device **found, struct node **top, struct err *err)
{
    LOCK_GUARD(&block->lock);
    struct device *device = registry_find_locked(block, name);
    if (!device)
        return err_set(err, ErrDeviceNotFound, 0, "there is no device '%s'", name);
    *info = (struct device_info){
        .failed = device_has_failed(device),
        .read_only = device->read_only,
        .size_bytes = device->size_bytes,
        .clients = device->clients,
        .overlay = device->overlay_shape,
    };
    pthread_mutex_lock(&device->lock);
    info->reason = device->reason ? strdup(device->reason) : NULL;
    pthread_mutex_unlock(&device->lock);
    device->lookers++;
    *top = device_top(device);
    *found = device;
    return 0;
}

/* The reference goes before the looker: a device that has none is closed by whoever drops it. */
static void device_info_end(struct block *block, struct device *device, struct node *top)
{
    if (top)
        node_unref(top);
    LOCK_GUARD(&block->lock);
    if (--device->lookers == 0)
        pthread_cond_broadcast(&block->changed);
}

static int device_info_get(struct block *block, const char *name, bool may_wait,
                           struct device_info *info, struct err *err)
{
    struct device *device = NULL;
    struct node *top = NULL;
    if (device_info_begin(block, name, info, &device, &top, err) != 0)
        return -1;
    int ret = top ? device_info_fill_chain(info, top, may_wait) : 0;
    device_info_end(block, device, top);
    if (ret == 0)
        return 0;
    device_info_clear(info);
    return err_set(err, ErrOutOfResources, ENOMEM, "device '%s' cannot be described", name);
}

int block_device_info(struct block *block, const char *name, struct device_info *info,
                      struct err *err)
{
    return device_info_get(block, name, true, info, err);
}

int block_device_info_known(struct block *block, const char *name, struct device_info *info,
                            struct err *err)
{
    return device_info_get(block, name, false, info, err);
}

void device_info_clear(struct device_info *info)
{
    for (size_t i = 0; i < info->chain_length; i++)
        free(info->chain[i].image);
    free(info->chain);
    free(info->reason);
    free(info->top);
    *info = (struct device_info){.failed = false};
}
