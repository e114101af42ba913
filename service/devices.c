/* SPDX-License-Identifier: Apache-2.0
 *
 * The use cases of devices. See devices.h for the order of steps and why.
 */
#include "service/devices.h"

#include "base/log.h"
#include "service/allowed-clients.h"
#include "service/clock.h"
#include "service/clones.h"
#include "service/context.h"
#include "service/deletes.h"
#include "service/device-change.h"
#include "service/frozen-release.h"
#include "service/idempotency.h"
#include "service/images.h"
#include "service/labels.h"
#include "service/names.h"
#include "store/images.h"
#include "store/merges.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_WAIT_MS = 5000, LOOKS_MAX = 250 };

/* All is borrowed but spec->clients, a reference. */
static int device_row_spec(const struct device_row *row, struct device_spec *spec, struct err *err)
{
    *spec = (struct device_spec){.name = row->name,
                                 .image = row->top,
                                 .format = row->top_format,
                                 .read_only = row->read_only,
                                 .identity = row->top_identity,
                                 .overlay = {row->cluster_size_bytes, row->extended_l2}};
    id_bytes(row->id, spec->id);
    return allowed_clients_parse(row->allowed_clients, &spec->clients, err);
}

static void device_spec_clear(struct device_spec *spec)
{
    allowed_clients_unref(spec->clients);
}

/* A device has come, or has gone and maybe was what kept images of the tree. */
static void device_replan(struct service *service, const char *tree, const struct origin *origin)
{
    struct err err;
    if (delete_replan(service, tree, origin, &err) != 0)
        log_warning("the tree of image '%s' is looked at with the next delete, or start: %s", tree,
                    err.message);
}

/* ---- adding ---- */

static int device_row_no_memory(const char *name, struct err *err)
{
    return err_set(err, ErrOutOfResources, 0, "there is no memory for device '%s'", name);
}

/* Fills in the image, and the directory that one to be created will be in. */
static int device_row_locate(struct service *service, const struct device_request *request,
                             struct device_row *row, struct err *err)
{
    char directory[FILE_IDENTITY_BYTES];
    row->image = block_resolve(service->block, request->image, err);
    if (!row->image)
        return -1;
    if (!request->create)
        return 0;
    if (block_directory_identity(service->block, row->image, directory, err) != 0)
        return -1;
    row->directory_identity = strdup(directory);
    return row->directory_identity ? 0 : device_row_no_memory(request->name, err);
}

static int device_row_fill(struct service *service, const struct device_request *request,
                           struct device_row *row, struct err *err)
{
    if (device_row_locate(service, request, row, err) != 0)
        return -1;
    id_new(row->id);
    row->state = request->create ? DEVICE_ROW_CREATING : DEVICE_ROW_ATTACHED;
    row->name = strdup(request->name);
    row->format = strdup(request->format);
    row->top = strdup(row->image);
    row->top_format = strdup(request->format);
    row->labels = strdup(request->labels);
    row->request_hash = strdup(request->origin->request_hash);
    row->allowed_clients = request->allowed_clients ? strdup(request->allowed_clients) : NULL;
    row->read_only = request->read_only;
    row->cluster_size_bytes = request->overlay.cluster_bytes;
    row->extended_l2 = request->overlay.extended_l2;
    row->created_at_us = clock_now_us();
    row->revision = STORE_REVISION_FIRST;
    if (!row->name || !row->format || !row->top || !row->top_format || !row->labels ||
        !row->request_hash || (request->allowed_clients && !row->allowed_clients))
        return device_row_no_memory(request->name, err);
    return 0;
}

/* Fills in the identity of the top of the open device. */
static int device_row_identify(struct device_row *row, const struct device_info *info,
                               struct err *err)
{
    free(row->top_identity);
    row->top_identity = info->chain_length ? strdup(info->chain[0].identity) : NULL;
    return info->chain_length && !row->top_identity ? device_row_no_memory(row->name, err) : 0;
}

/* Fills in what is known once the device is open: its chain, and the identity of its image, which
 * is its top. */
static int device_row_identify_new(struct service *service, struct device_row *row, struct err *err)
{
    struct device_info info;
    if (block_device_info_known(service->block, row->name, &info, err) != 0)
        return -1;
    int result =
        device_row_identify(row, &info, err) != 0 ? -1 : images_fill_chain(row, &info, err);
    device_info_clear(&info);
    if (result != 0)
        return -1;
    row->image_identity = row->top_identity ? strdup(row->top_identity) : NULL;
    return row->top_identity && !row->image_identity ? device_row_no_memory(row->name, err) : 0;
}

/* How far an attempt to add a device has come; it never goes back. */
enum add_state {
    ADD_NOTHING,  /* to undo */
    ADD_RECORDED, /* the row may exist, and the image if it was being created */
    ADD_OPENED,   /* the device too */
};

/* What was frozen, and is needed no longer, is freed for the device. */
static int device_open(struct service *service, const struct device_row *row,
                       const struct device_spec *spec, struct err *err)
{
    struct err why;
    int ret = block_device_open(service->block, spec, err);
    if (ret == 0 || err->code != ErrImageInUse || row->read_only)
        return ret;
    int released = frozen_file_release(service, row->image, &why);
    if (released > 0)
        return block_device_open(service->block, spec, err);
    if (released < 0)
        *err = why;
    return -1;
}

static int device_attach(struct service *service, struct device_row *row,
                         const struct device_request *request, enum add_state *state,
                         struct err *err)
{
    assert(*state == ADD_NOTHING);
    CLEANUP_BY(device_spec_clear) struct device_spec spec = {0};
    if (device_row_spec(row, &spec, err) != 0)
        return -1;
    spec.discard_unflushed = request->discard_unflushed;
    row->chain_seen = store_merges_generation(service->store);
    if (device_open(service, row, &spec, err) != 0)
        return -1;
    *state = ADD_OPENED;
    return device_row_identify_new(service, row, err) != 0
               ? -1
               : device_row_insert_attached(service, row, request->origin, err);
}

/* The row says ATTACHED. The chain is looked at within the transaction: whatever a merge takes out
 * of it from now on is recorded after it. */
static int creation_finish(struct service *service, struct device_row *row,
                           const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || device_row_identify_new(service, row, err) != 0)
        return -1;
    struct device_row attached = *row;
    attached.state = DEVICE_ROW_ATTACHED;
    if (store_device_update_state(transaction, &attached, err) != 0 ||
        event_record(transaction, origin, EVENT_DEVICE_ATTACHED, row->name, NULL, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* Inserts the row CREATING, with the request's key. */
static int creation_record(struct service *service, const struct device_row *row,
                           const struct origin *origin, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_device_insert(transaction, row, err) != 0 ||
        key_record(transaction, origin, "device", row->id, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

static int image_make(struct service *service, const struct device_row *row,
                      const struct clone_source *source, const unsigned char id[OWNER_ID_BYTES],
                      struct err *err)
{
    const struct device_request *request = &source->request;
    uint64_t size_bytes = (request->size_bytes + 511) / 512 * 512;
    return source->clone ? clone_create(source->clone, id, err)
                         : block_image_create(service->block, row->image, row->format, size_bytes,
                                              &request->created, id, err);
}

/* A job that plans may have the new image open, to look at its header: that is awaited. Nobody else
 * knows of it. */
static int creation_open(struct service *service, const struct device_spec *spec, struct err *err)
{
    int looks = 0;
    while (block_device_open(service->block, spec, err) != 0)
        if (err->code != ErrDeviceInUse || looks++ == LOOKS_MAX ||
            !block_image_await(service->block, spec->image, LOOK_WAIT_MS))
            return -1;
    return 0;
}

static int device_create_image(struct service *service, struct device_row *row,
                               const struct clone_source *source, enum add_state *state,
                               struct err *err)
{
    assert(*state == ADD_NOTHING && row->state == DEVICE_ROW_CREATING);
    unsigned char id[OWNER_ID_BYTES];
    const struct device_request *request = &source->request;
    CLEANUP_BY(device_spec_clear) struct device_spec spec = {0};
    if (block_format_check_create(row->format, err) != 0 || device_row_spec(row, &spec, err) != 0)
        return -1;
    id_bytes(row->id, id);
    int ret = creation_record(service, row, request->origin, err);
    if (ret == 0 || err->code == ErrStoreFailed)
        *state = ADD_RECORDED;
    if (ret != 0 || image_make(service, row, source, id, err) != 0 ||
        creation_open(service, &spec, err) != 0)
        return -1;
    *state = ADD_OPENED;
    if (creation_finish(service, row, request->origin, err) != 0)
        return -1;
    return source->clone ? 0 : block_image_keep(service->block, row->image, id, err);
}

/* Clients may come, and a merge of its top that was left goes on. */
static void device_serve(struct service *service, const struct device_row *row,
                         const struct origin *origin)
{
    struct err ignored;
    block_device_export(service->block, row->name);
    if (row->chain_count > 1 && store_plan_is_due(service->store, row->chain[1].path, &ignored) > 0)
        device_replan(service, row->chain[1].path, origin);
}

/* Removes all that a failed attempt left. The attempt's error stays the one that is reported. */
static void device_undo(struct service *service, const struct device_row *row,
                        struct device_row_change *removal, enum add_state state)
{
    struct err err;
    if (state == ADD_OPENED && block_device_abandon(service->block, row->name, false, &err) != 0)
        log_error("device '%s' was not attached, but cannot be closed: %s", row->name, err.message);
    if (device_row_change_settle(service, removal, &err) != 0)
        log_error("device '%s' was not attached, but may come back: %s", row->name, err.message);
}

/* So that a call sent twice is refused for its name, not for its image, which exists too, or is
 * away. The caller holds the name. */
static int device_check_name(struct service *service, const char *name, struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    if (store_device_get(service->store, name, &now, err) == 0)
        return err_set(err, ErrDeviceExists, 0, "there is a device '%s' already", name);
    return err->code == ErrDeviceNotFound ? 0 : -1;
}

int devices_add(struct service *service, const struct device_request *wanted,
                struct device_view *view, enum device_part *part, struct err *err)
{
    NAME_HOLD(service, wanted->name);
    *view = (struct device_view){0};
    *part = DEVICE_PART_ITSELF;
    CLEANUP_BY(clone_source_close) struct clone_source source = {0};
    const struct device_request *request = &source.request;
    if (device_check_name(service, wanted->name, err) != 0 ||
        clone_source_open(service, wanted, &source, part, err) != 0 ||
        device_row_fill(service, request, &view->row, err) != 0 ||
        (source.clone && clone_source_place(&source, &view->row, err) != 0))
        return -1;
    CLEANUP(device_row_change)
    struct device_row_change *removal = device_removal_new(&view->row, request->origin, err);
    if (!removal)
        return -1;
    enum add_state state = ADD_NOTHING;
    int ret = request->create ? device_create_image(service, &view->row, &source, &state, err)
                              : device_attach(service, &view->row, request, &state, err);
    if (ret != 0 && state != ADD_NOTHING)
        device_undo(service, &view->row, steal(removal), state);
    if (ret != 0)
        return -1;
    assert(state == ADD_OPENED);
    view->row.state = DEVICE_ROW_ATTACHED;
    device_serve(service, &view->row, request->origin);
    return device_view_fill(service, view, true, err);
}

/* ---- detaching ---- */

/* Sets the state of a row that still is as it was when its condition was checked. */
static int device_row_detach_unchanged(struct store_transaction *transaction,
                                       const struct device_row *row, struct err *err)
{
    return store_device_check_revision(transaction, row, err) != 0
               ? -1
               : store_device_update_state(transaction, row, err);
}

/* What is removed is the top of the moment in which the device is closed. Of one that failed only
 * the row knows it. */
static int device_end(struct service *service, const struct device_row *row, bool discard_unflushed,
                      struct err *err)
{
    unsigned char id[OWNER_ID_BYTES];
    if (discard_unflushed)
        return block_device_abandon(service->block, row->name, true, err);
    if (!row->removed_by)
        return block_device_close(service->block, row->name, err);
    id_bytes(row->removed_by, id);
    int ret = block_device_remove(service->block, row->name, id, err);
    bool is_gone =
        ret != 0 && err->code == ErrDeviceFailed &&
        block_image_is_gone(service->block, row->top, row->top_identity ? row->top_identity : "");
    return is_gone ? block_device_close(service->block, row->name, err) : ret;
}

/* Sets the row DETACHING, then closes the device. On failure both are unchanged. */
static int device_detach(struct service *service, const struct device_row *row,
                         const struct device_detach *how, const struct condition *condition,
                         struct err *err)
{
    struct err second;
    CLEANUP_FREE char *made_by = NULL;
    if (how->deletes_top && store_device_find_maker(service->store, row, &made_by, err) != 0)
        return -1;
    struct device_row detaching = *row;
    detaching.state = DEVICE_ROW_DETACHING;
    detaching.removed_by = made_by;
    CLEANUP(device_row_change) struct device_row_change *staying = device_staying_new(row, err);
    if (!staying)
        return -1;
    if (device_row_write(service,
                         condition ? device_row_detach_unchanged : store_device_update_state,
                         &detaching, err) != 0) {
        if (err->code == ErrStoreFailed)
            device_row_change_settle(service, steal(staying), &second);
        return -1;
    }
    struct err closing;
    int ret = device_end(service, &detaching, how->discard_unflushed, &closing);
    if (ret == 0 || closing.code == ErrDeviceNotFound)
        return 0;
    device_row_change_settle(service, steal(staying), &second);
    *err = closing;
    return -1;
}

/* Whether its creation, or its detach by an earlier daemon, did not finish. The caller holds the
 * name. */
static bool row_is_unfinished(struct service *service, const struct device_row *row)
{
    struct err err;
    struct device_info info = {0};
    if (row->state != DEVICE_ROW_DETACHING)
        return row->state == DEVICE_ROW_CREATING;
    int found = block_device_info_known(service->block, row->name, &info, &err);
    device_info_clear(&info);
    return found != 0 && err.code == ErrDeviceNotFound;
}

/* Such a device: removes its image, then the row. With `discard_unflushed` the image is left where
 * it may be. */
static int unfinished_remove(struct service *service, const struct device_row *row,
                             bool discard_unflushed, struct err *err)
{
    struct err gone;
    bool is_new = row->state == DEVICE_ROW_CREATING;
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    if (discard_unflushed)
        return device_row_leave(service, row, err);
    if (device_row_finish(service, row, err) != 0)
        return -1;
    if (store_device_get(service->store, row->name, &now, &gone) == 0)
        return err_set(err, ErrUnflushedData, 0,
                       "image '%s' of device '%s', whose %s did not finish, cannot be removed now; "
                       "this is retried: detach with {\"discard_unflushed\": true} to leave it",
                       is_new ? row->image : row->top, row->name, is_new ? "creation" : "detach");
    if (gone.code == ErrDeviceNotFound)
        return 0;
    *err = gone;
    return -1;
}

/* Whether a group has put another top on the device since the row was read. */
static bool top_has_changed(struct service *service, const struct device_row *row)
{
    struct err ignored;
    CLEANUP_BY(device_row_clear) struct device_row now = {0};
    return store_device_get(service->store, row->name, &now, &ignored) == 0 &&
           strcmp(now.id, row->id) == 0 && strcmp(now.top, row->top) != 0;
}

/* 1: done; 0: the top is another one by now; -1. The caller holds the name. */
static int remove_try(struct service *service, const struct device_row *row,
                      const struct device_detach *how, const struct origin *origin,
                      const struct condition *condition, struct err *err)
{
    /* Saves a write to the store; block_device_close() decides. */
    if (block_device_check_clients(service->block, row->name, err) != 0)
        return -1;
    CLEANUP(device_row_change)
    struct device_row_change *removal = device_removal_new(row, origin, err);
    CLEANUP_FREE char *tree = device_row_find_tree(service, row, how->deletes_top);
    if (!removal)
        return -1;
    if (device_detach(service, row, how, condition, err) != 0)
        return err->code == ErrImageIsKept && top_has_changed(service, row) ? 0 : -1;
    struct err later;
    bool is_later = device_row_change_settle(service, steal(removal), &later) != 0;
    if (is_later)
        log_warning("device '%s' is detached; its row is deleted later: %s", row->name,
                    later.message);
    if (tree && !is_later && how->deletes_top)
        device_replan(service, tree, origin);
    else if (tree)
        delete_replan_later(service, tree);
    return 1;
}

/* A running attach holds the name, and may take long. No condition holds for what it has not
 * recorded. 1: it ends; 0: there is none; -1: the device is not there, or not as it is to be. */
static int attach_call_off(struct service *service, const char *name,
                           const struct condition *condition, struct err *err)
{
    CLEANUP_BY(device_row_clear) struct device_row row = {0};
    if (condition && (store_device_get(service->store, name, &row, err) != 0 ||
                      condition_check(condition, row.id, row.revision, err) != 0))
        return -1;
    return block_device_call_off(service->block, name);
}

int devices_remove(struct service *service, const char *name, const struct device_detach *how,
                   const struct origin *origin, const struct condition *condition, struct err *err)
{
    int is_called_off = attach_call_off(service, name, condition, err);
    if (is_called_off < 0)
        return -1;
    NAME_HOLD(service, name);
    for (int done = 0; done == 0;) {
        CLEANUP_BY(device_row_clear) struct device_row row = {0};
        if (store_device_get(service->store, name, &row, err) != 0)
            return is_called_off && err->code == ErrDeviceNotFound ? 0 : -1;
        if (condition_check(condition, row.id, row.revision, err) != 0)
            return -1;
        if (row_is_unfinished(service, &row))
            return unfinished_remove(service, &row, how->discard_unflushed, err);
        done = remove_try(service, &row, how, origin, condition, err);
        if (done < 0)
            return -1;
    }
    return 0;
}

/* ---- restart ---- */

/* Records the identity of the top in a row of an older daemon, which has none. */
static void device_row_adopt(struct service *service, const struct device_row *row)
{
    struct err err;
    struct device_info info = {0};
    struct device_row known = {.state = row->state, .name = row->name};
    if (row->top_identity)
        return;
    memcpy(known.id, row->id, sizeof(known.id));
    if (block_device_info_known(service->block, row->name, &info, &err) != 0 ||
        device_row_identify(&known, &info, &err) != 0 ||
        device_row_write(service, store_device_update_state, &known, &err) != 0)
        log_warning("the identity of the top of device '%s' is not recorded: %s", row->name,
                    err.message);
    device_info_clear(&info);
    free(known.top_identity);
}

void devices_restore(struct service *service, const struct device_row *row)
{
    CLEANUP_BY(device_spec_clear) struct device_spec spec = {0};
    struct err err, second;
    if (device_row_spec(row, &spec, &err) != 0) {
        log_error("device '%s' cannot be listed: %s", row->name, err.message);
        return;
    }
    spec.is_restored = true;
    if (block_device_open(service->block, &spec, &err) == 0) {
        device_row_adopt(service, row);
        images_restore(service, row);
    } else {
        if (block_device_open_failed(service->block, &spec, &err, &second) != 0) {
            log_error("device '%s' cannot be listed: %s", row->name, second.message);
            return;
        }
    }
    block_device_export(service->block, row->name);
}
