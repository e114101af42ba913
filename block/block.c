/* SPDX-License-Identifier: Apache-2.0
 *
 * The block layer's life, and the making of new image files. See block.h.
 */
#include "block/block.h"

#include "base/log.h"
#include "block/device/exports.h"
#include "block/device/last-flush.h"
#include "block/device/object.h"
#include "block/device/registry.h"
#include "block/device/retry.h"
#include "block/format/qcow2/driver-qcow2.h"
#include "block/format/raw.h"
#include "block/image/drivers.h"
#include "block/image/journal-recovery.h"
#include "block/image/stage.h"
#include "block/image/table-memory.h"
#include "block/nbd/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* The formats of this build; a test may have registered another driver of one's name. */
static void block_register_formats(void)
{
    static const struct driver *const formats[] = {&driver_raw, &driver_qcow2};
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (!driver_find(formats[i]->name))
            driver_register(formats[i]);
}

/* Frees what block_parts_init() has set. */
static void block_parts_free(struct block *block)
{
    if (block->files)
        file_table_free(block->files);
    hash_table_destroy(&block->named);
    hash_table_destroy(&block->frozen_named);
    hash_table_destroy(&block->frozen_aliased);
    image_dir_close(&block->dir);
    if (block->failures_fd >= 0)
        close(block->failures_fd);
}

/* What may fail, of a zeroed block layer. -1 with *err when one part is missing. */
static int block_parts_init(struct block *block, const char *image_dir, struct err *err)
{
    block->dir.fd = -1;
    block->failures_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int errnum = block->failures_fd < 0 ? errno : ENOMEM;
    block->files = file_table_new();
    if (block->failures_fd < 0 || !block->files || hash_table_init(&block->named) != 0 ||
        hash_table_init(&block->frozen_named) != 0 || hash_table_init(&block->frozen_aliased) != 0)
        return err_set(err, ErrOutOfResources, errnum, "the block layer cannot be opened");
    return image_dir_open(&block->dir, image_dir, err);
}

/* How long requests of clients, and a device's last flush, may wait for storage at the end;
 * together less than what the daemon has for its end. */
enum { NBD_HANG_MS = 1000, FLUSH_HANG_MS = 10000 };

struct block *block_open(const char *image_dir, struct err *err)
{
    block_register_formats();
    struct block *block = aligned_alloc(alignof(struct block), sizeof(*block));
    if (!block) {
        err_set(err, ErrOutOfResources, ENOMEM, "the block layer cannot be opened");
        return NULL;
    }
    memset(block, 0, sizeof(*block));
    if (block_parts_init(block, image_dir, err) != 0) {
        block_parts_free(block);
        free(block);
        return NULL;
    }
    readers_init(&block->walkers);
    openings_init(&block->openings, &block->walkers);
    index_memory_init(&block->index_memory, INDEX_MEMORY_DEFAULT_BYTES);
    pthread_mutex_init(&block->cut.lock, NULL);
    pthread_mutex_init(&block->lock, NULL);
    pthread_cond_init(&block->changed, NULL);
    retry_init(block);
    return block;
}

void block_set_index_memory(struct block *block, uint64_t budget_bytes)
{
    index_memory_set_budget(&block->index_memory, budget_bytes);
}

void block_set_table_memory(uint64_t budget_bytes)
{
    table_memory_set(budget_bytes);
}

struct block_memory block_table_memory(void)
{
    struct block_memory memory;
    table_memory_get(&memory.used_bytes, &memory.limit_bytes);
    return memory;
}

struct block_memory block_index_memory(struct block *block)
{
    struct block_memory memory;
    index_memory_get(&block->index_memory, &memory.used_bytes, &memory.limit_bytes);
    return memory;
}

/* Whether the device, the first one, is being opened: the attempt frees it. */
static bool block_abandon_opening(struct block *block, struct device *device)
{
    LOCK_GUARD(&block->lock);
    if (!retry_is_opening(device))
        return false;
    retry_abandon_locked(block, device);
    return true;
}

/* False: requests of clients hang. */
static bool block_nbd_end(struct block *block)
{
    return !block->server || nbd_server_stop(block->server, NBD_HANG_MS);
}

static int block_report_used(struct err *err)
{
    return err_set(err, ErrOpenFileFailed, 0, "requests of NBD clients wait for storage");
}

int block_stop(struct block *block, struct err *err)
{
    bool hangs;
    bool is_used = !block_nbd_end(block);
    int ret = devices_flush_last(block, FLUSH_HANG_MS, &hangs, err);
    return is_used ? block_report_used(err) : ret;
}

static void block_close_devices(struct block *block)
{
    while (block->devices) {
        struct device *device = block->devices;
        if (block_abandon_opening(block, device))
            continue;
        registry_remove_locked(block, device);
        device_free(device);
    }
}

static void block_close_frozen(struct block *block)
{
    while (block->frozen) {
        struct frozen *frozen = block->frozen;
        block->frozen = frozen->next;
        frozen_free(frozen);
    }
}

int block_close(struct block *block, struct err *err)
{
    bool hangs;
    bool is_used = !block_nbd_end(block);
    bool is_quiet = retry_stop(block);
    int ret = devices_flush_last(block, FLUSH_HANG_MS, &hangs, err);
    if (is_used || hangs)
        return ret ? ret : block_report_used(err);
    block_nbd_stop(block);
    block_close_devices(block);
    block_close_frozen(block);
    if (!is_quiet)
        return err_set(err, ErrOpenFileFailed, 0, "an image is still being opened");
    readers_destroy(&block->walkers);
    openings_destroy(&block->openings);
    index_memory_destroy(&block->index_memory);
    journal_dir_close(block->journals);
    block_parts_free(block);
    pthread_cond_destroy(&block->changed);
    pthread_cond_destroy(&block->retrier.changed);
    pthread_mutex_destroy(&block->lock);
    pthread_mutex_destroy(&block->cut.lock);
    free(block);
    return ret;
}

int block_journals_open(struct block *block, const char *runtime_dir, struct err *err)
{
    block->journals = journal_dir_open(runtime_dir, err);
    return block->journals ? 0 : -1;
}

void block_journals_finish(struct block *block)
{
    journal_recovery_finish(block->journals, &block->dir);
}

int block_image_sync(struct block *block, const char *path, struct err *err)
{
    return journal_recovery_sync(block->journals, &block->dir, path, err);
}

bool block_image_is(struct block *block, const char *path, const char *identity)
{
    struct err err;
    struct identity found;
    CLEANUP_FREE char *canonical = NULL;
    CLEANUP_CLOSE int fd = image_open(&block->dir, path, true, &canonical, &err);
    if (fd < 0 || identity_of(fd, &found) != 0)
        return false;
    return !identity || !found.is_lasting || strcmp(found.text, identity) == 0;
}

bool block_image_await(struct block *block, const char *path, unsigned timeout_ms)
{
    struct stat st;
    return stat(path, &st) != 0 || file_table_await(block->files, st.st_dev, st.st_ino, timeout_ms);
}

int block_check_image_dir(const struct block *block, struct err *err)
{
    return image_dir_check(&block->dir, err);
}

const char *block_image_dir(const struct block *block)
{
    return block->dir.path;
}

char *block_resolve(struct block *block, const char *path, struct err *err)
{
    return block_resolve_new(block, path, NULL, err);
}

char *block_resolve_new(struct block *block, const char *path, bool *is_taken, struct err *err)
{
    struct err refusal;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (image_place_open(&block->dir, path, &place, err) != 0)
        return NULL;
    if (is_taken)
        *is_taken = image_place_check_free(&place, &refusal) != 0 && refusal.errnum == EEXIST;
    return steal(place.path);
}

bool block_format_known(const char *format)
{
    return driver_find(format) != NULL;
}

/* ---- image files ---- */

int block_format_check_create(const char *format, struct err *err)
{
    return driver_find_creating(format, err) ? 0 : -1;
}

static int image_write(int fd, const struct image_place *place, const char *format,
                       uint64_t size_bytes, struct cluster_shape shape, struct err *err)
{
    const struct driver *driver = driver_find(format);
    assert(driver && driver->create);
    uint64_t whole = (size_bytes + BLOCK_SECTOR_BYTES - 1) & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1);
    const struct image_spec spec = {.size_bytes = whole,
                                    .cluster_bytes = shape.cluster_bytes,
                                    .extended_l2 = shape.extended_l2};
    if (driver->create(fd, &spec, err) != 0)
        return -1;
    if (fsync(fd) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be made durable",
                       place->path);
    return 0;
}

int block_image_create(struct block *block, const char *path, const char *format,
                       uint64_t size_bytes, const struct cluster_shape *shape,
                       const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (size_bytes == 0 || size_bytes > DEVICE_SIZE_MAX_BYTES)
        return err_set(err, ErrInvalidValue, 0, "an image has 1 to %llu bytes",
                       DEVICE_SIZE_MAX_BYTES);
    if (block_format_check_create(format, err) != 0 ||
        image_place_open(&block->dir, path, &place, err) != 0)
        return -1;
    CLEANUP_CLOSE int fd = stage_create(&place, id, err);
    if (fd < 0)
        return -1;
    struct err ignored;
    if (image_write(fd, &place, format, size_bytes, shape ? *shape : (struct cluster_shape){0},
                    err) != 0 ||
        stage_publish(&place, id, err) != 0) {
        stage_discard(&place, id, &ignored);
        return -1;
    }
    if (fsync(place.dirfd) != 0) {
        err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be made durable", place.path);
        stage_discard(&place, id, &ignored);
        return -1;
    }
    return 0;
}

static int place_sync(const struct image_place *place, struct err *err)
{
    return fsync(place->dirfd) == 0
               ? 0
               : err_set(err, ErrOpenFileFailed, errno, "the directory of '%s' cannot be synced",
                         place->path);
}

/* Mostly there is nothing to remove, and so nothing to sync: a start asks for every device. */
int block_image_keep(struct block *block, const char *path, const unsigned char id[OWNER_ID_BYTES],
                     struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    int found = image_place_find(&block->dir, path, NULL, &place, err);
    if (found <= 0)
        return found;
    if (stage_is_kept(&place, id))
        return 0;
    return stage_keep(&place, id, err) != 0 ? -1 : place_sync(&place, err);
}

int block_directory_identity(struct block *block, const char *path,
                             char identity[FILE_IDENTITY_BYTES], struct err *err)
{
    return image_directory_identity(&block->dir, path, identity, err);
}

bool block_image_is_gone(struct block *block, const char *path, const char *identity)
{
    struct err ignored;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    return *identity && image_place_find(&block->dir, path, identity, &place, &ignored) > 0 &&
           image_place_check_free(&place, &ignored) == 0;
}

int block_image_discard(struct block *block, const char *path, const char *directory,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    int found = image_place_find(&block->dir, path, directory, &place, err);
    if (found <= 0)
        return found;
    return stage_discard(&place, id, err) != 0 ? -1 : place_sync(&place, err);
}

/* ---- exports ---- */

static int block_nbd_start(struct block *block, struct err *err)
{
    if (!block->server)
        block->server = nbd_server_new(block);
    return block->server ? 0 : err_set(err, ErrOutOfResources, ENOMEM, "NBD cannot be served");
}

int block_nbd_set_tls(struct block *block, const struct nbd_tls_spec *spec, struct err *err)
{
    return block_nbd_start(block, err) ? -1 : nbd_server_set_tls(block->server, spec, err);
}

int block_nbd_check(const struct nbd_tls_spec *spec, const char *const *addresses, size_t count,
                    struct err *err)
{
    return nbd_server_check(spec, addresses, count, err);
}

int block_nbd_listen(struct block *block, const char *address, struct err *err)
{
    return block_nbd_start(block, err) ? -1 : nbd_server_listen(block->server, address, err);
}

bool block_nbd_needs_tls(const struct block *block)
{
    return block->server && nbd_server_needs_tls(block->server);
}

bool block_nbd_knows_clients(const struct block *block)
{
    return block->server && nbd_server_knows_clients(block->server);
}

const char *block_nbd_address(const struct block *block, size_t index)
{
    return block->server ? nbd_server_address(block->server, index) : NULL;
}

const char *block_nbd_reach(const struct block *block)
{
    return block->server ? nbd_server_reach(block->server) : NULL;
}

unsigned block_nbd_connections(const struct block *block)
{
    return block->server ? nbd_server_connections(block->server) : 0;
}

struct block_memory block_nbd_memory(const struct block *block)
{
    struct block_memory memory = {0};
    if (block->server)
        nbd_server_memory(block->server, &memory.used_bytes, &memory.limit_bytes);
    return memory;
}

void block_nbd_stop(struct block *block)
{
    if (block->server)
        nbd_server_free(steal(block->server));
}
