/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging. See block/merge.h.
 *
 *     FROZEN --merge_begin--> THAWED --merge_redirect--> REDIRECTED
 *        ^                      |                            |
 *        +------ merge_end -----+----------------------------+
 *
 * What is to be pushed is asked piece by piece of the frozen images above base (a walk with a
 * floor, walk.h), never of a plan made earlier. A thread writes what was read (writer.h).
 *
 * A merge leaves in the page cache what clients read (read-marks.h), and little else of what it
 * moves: the rest is dropped from it above, and written past it, as far as runs of data are long
 * enough. That also costs a guest's requests less than write-back of as much.
 */
#include "block/merge.h"

#include "block/device/exports.h"
#include "block/device/object.h"
#include "block/device/opener.h"
#include "block/device/redirect.h"
#include "block/device/users.h"
#include "block/image/amend.h"
#include "block/image/freeze.h"
#include "block/image/image.h"
#include "block/image/read-marks.h"
#include "block/image/stage.h"
#include "block/job/merge.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    ZEROS_BYTES = 1 << 30, /* that are pushed at a time */
    RUSAGE_BLOCK_BYTES = 512,
    FOLIO_BYTES_MAX = 2 << 20, /* pages that the kernel drops together or not at all */
};

/* ---- opening ---- */

/* Under another name the file may be a copy that somebody keeps, or have an overlay on it. A first
 * name that was left when the file was made, as by a power failure, is neither. */
static int base_check_names(struct block *block, const struct node *base, struct err *err)
{
    struct stat st;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (fstat(base->fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be examined", base->path);
    if (st.st_nlink <= 1)
        return 0;
    if (image_place_open(&block->dir, base->path, &place, err) != 0)
        return -1;
    uintmax_t names = st.st_nlink - stage_count_names(&place, &st);
    return names <= 1 ? 0
                      : err_set(err, ErrInvalidValue, 0,
                                "image '%s' has %ju names (hard links), and is not written to "
                                "under any of them",
                                base->path, names);
}

static int merge_list_layers(struct merge *merge, const struct merge_image *base, struct err *err)
{
    if (held_chain_begin(merge->block, merge->upper, &merge->held) != 0)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be merged",
                       merge->upper->path);
    merge->count = (unsigned)merge->held.count;
    unsigned layer = merge->count;
    for (size_t i = 0; i < merge->held.count; i++) {
        struct node *node = merge->held.nodes[i];
        merge->layers[--layer] = node;
        if (strcmp(node->path, base->path) == 0 || strcmp(node_used_path(node), base->path) == 0) {
            merge->base = node;
            merge->floor = layer + 1;
        }
    }
    if (!merge->base || merge->base == merge->upper)
        return err_set(err, ErrNotRelated, 0, "image '%s' is not beneath '%s'", base->path,
                       merge->upper->path);
    const char *known = base->identity ? base->identity : "";
    if (*known && merge->base->identity.is_lasting &&
        strcmp(known, merge->base->identity.text) != 0)
        return err_set(err, ErrOpenFileFailed, 0,
                       "image '%s' is not the file that was recorded under this path", base->path);
    if (base_check_names(merge->block, merge->base, err) != 0)
        return -1;
    if (merge->base->size_bytes > merge->upper->size_bytes)
        return err_set(err, ErrInvalidValue, 0, "image '%s' is larger than '%s'", merge->base->path,
                       merge->upper->path);
    return merge->base->size_bytes == merge->upper->size_bytes
               ? 0
               : node_can_grow(merge->base, merge->upper->size_bytes, err);
}

/* The open node of that path: a frozen one of any chain, or the top of a device. A reference, or
 * NULL. */
static struct node *node_find_open(struct block *block, const char *path)
{
    READERS_GUARD(&block->walkers);
    LOCK_GUARD(&block->lock);
    for (struct device *device = block->devices; device; device = device->next) {
        CLEANUP(node) struct node *top = device_top(device);
        for (struct node *node = top; node; node = node->backing)
            if (strcmp(node->path, path) == 0 || strcmp(node_used_path(node), path) == 0)
                return node_ref(node);
    }
    return NULL;
}

static struct node *image_find_or_open(struct block *block, const struct merge_image *image,
                                       struct err *err)
{
    struct node *node = node_find_open(block, image->path);
    CLEANUP_OPENING struct opening opening = OPENING_OF(block);
    return node ? node
                : opener_open_image(&opening, image->path, image->format, image->identity, err);
}

struct merge *merge_open(struct block *block, const struct merge_image *base,
                         const struct merge_image *upper, struct err *err)
{
    struct merge *merge = calloc(1, sizeof(*merge));
    if (!merge) {
        err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be merged", upper->path);
        return NULL;
    }
    merge->block = block;
    walks_init(&merge->walks, &block->index_memory.walks);
    merge->upper = image_find_or_open(block, upper, err);
    if (merge->upper && merge_list_layers(merge, base, err) == 0)
        return merge;
    merge_close(merge);
    return NULL;
}

void merge_close(struct merge *merge)
{
    walks_destroy(&merge->walks);
    held_chain_end(&merge->held);
    if (merge->upper)
        node_unref(merge->upper);
    free(merge);
}

/* ---- measuring ---- */

/* What the images above base hold from `offset` on. */
static int merge_map(struct merge *merge, uint64_t offset, struct chain_extent *extent)
{
    extent->length = merge->upper->size_bytes - offset;
    return walks_map(&merge->walks, merge->layers, merge->count, merge->floor, offset, 0, extent);
}

int merge_report(const struct merge *merge, int ret, const char *what, struct err *err)
{
    return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be %s '%s'", merge->upper->path,
                   what, merge->base->path);
}

/* How much of a range takes new space in base: whole clusters where it has no data of its own. */
static int merge_measure_range(struct merge *merge, uint64_t offset, uint64_t length,
                               uint64_t *new_bytes)
{
    struct node *base = merge->base;
    uint64_t cluster = base->cluster_bytes ? base->cluster_bytes : BLOCK_SECTOR_BYTES;
    uint64_t end = (offset + length + cluster - 1) / cluster * cluster;
    offset -= offset % cluster;
    while (offset < end) {
        if (offset >= base->size_bytes) {
            *new_bytes += end - offset;
            return 0;
        }
        uint64_t left = base->size_bytes - offset;
        struct extent extent = {.length = end - offset < left ? end - offset : left};
        bool is_held;
        int ret = node_begin_io(base, 0, &is_held);
        if (ret == 0) {
            ret = base->driver->map(base, offset, MAP_HOLES, &extent);
            node_end_io(base, is_held);
        }
        if (ret)
            return ret;
        *new_bytes += extent.kind == EXTENT_DATA ? 0 : extent.length;
        offset += extent.length;
    }
    return 0;
}

static int merge_measure_extent(struct merge *merge, uint64_t offset,
                                const struct chain_extent *extent, struct merge_size *size)
{
    if (extent->kind == EXTENT_BACKING)
        return 0;
    size->copy_bytes += extent->length;
    return extent->kind == EXTENT_DATA
               ? merge_measure_range(merge, offset, extent->length, &size->new_bytes)
               : 0;
}

int merge_measure(struct merge *merge, struct merge_size *size, struct err *err)
{
    struct chain_extent extent;
    struct statvfs fs;
    int ret = fstatvfs(merge->base->fd, &fs) == 0 ? 0 : -errno;
    *size = (struct merge_size){.disk_bytes = merge->upper->size_bytes};
    if (ret == 0)
        size->free_bytes = (geteuid() == 0 ? fs.f_bfree : fs.f_bavail) * fs.f_frsize;
    for (uint64_t at = 0; at < size->disk_bytes && ret == 0; at += extent.length) {
        ret = merge_map(merge, at, &extent);
        if (ret == 0)
            ret = merge_measure_extent(merge, at, &extent, size);
    }
    return ret ? merge_report(merge, ret, "measured against", err) : 0;
}

/* ---- pushing ---- */

int merge_report_user(const struct merge *merge, struct err *err)
{
    struct image_user user;
    const struct node *base = merge->base;
    if (err->code == ErrDeviceInUse &&
        image_user_find(merge->block, base->dev, base->ino, base, &user))
        err_set(err, ErrDeviceInUse, 0, "image '%s' is in use by device '%s' under another name",
                base->path, user.device);
    return -1;
}

static int merge_begin_writing(struct merge *merge, struct err *err)
{
    merge->writer = writer_new(merge->base);
    if (!merge->writer)
        return merge_report(merge, -ENOMEM, "merged into", err);
    node_open_direct(merge->base);
    return 0;
}

static void merge_end_writing(struct merge *merge)
{
    writer_free(steal(merge->writer));
    node_close_direct(merge->base);
}

int merge_begin(struct merge *merge, struct err *err)
{
    struct journal_dir *journals = merge->block->journals;
    assert(merge->state == MERGE_FROZEN && atomic_load(&merge->upper->read_only));
    if (node_thaw(merge->base, journals ? journal_dir_fd(journals) : -1, err) != 0)
        return merge_report_user(merge, err);
    merge->state = MERGE_THAWED;
    if ((merge->base->size_bytes == merge->upper->size_bytes ||
         node_grow(merge->base, merge->upper->size_bytes, err) == 0) &&
        merge_begin_writing(merge, err) == 0)
        return 0;
    struct err ignored;
    merge_end(merge, &ignored);
    return -1;
}

/* Finds what is to be pushed from *offset on: its place, and at most a piece of it. What the images
 * do not hold costs nothing but the tables in which it is missing. 0, 1 if there is nothing any
 * more, or -errno. */
static int merge_find(struct merge *merge, uint64_t *offset, struct chain_extent *extent)
{
    for (; *offset < merge->upper->size_bytes; *offset += extent->length) {
        int ret = merge_map(merge, *offset, extent);
        if (ret)
            return ret;
        if (extent->kind == EXTENT_BACKING)
            continue;
        uint64_t most = extent->kind == EXTENT_DATA ? MERGE_PIECE_BYTES : ZEROS_BYTES;
        if (extent->length > most)
            extent->length = most;
        return 0;
    }
    return 1;
}

/* What this thread has read from disks so far, read-ahead included. */
static uint64_t thread_fetched_bytes(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_inblock * RUSAGE_BLOCK_BYTES;
}

/* Where pieces do not follow each other in a file, what was read ahead is not of the next one. */
static void merge_begin_run(struct merge *merge, const struct chain_extent *extent)
{
    if (extent->node == merge->run.node && extent->host == merge->run.end)
        return;
    merge->run = (struct merge_run){extent->node, extent->host, extent->host};
    merge->fetched_bytes = 0;
}

/* Whether a piece that was read stays in the page cache, above and in base: clients have read it,
 * and the merge has not brought it in. */
static bool merge_keeps(struct merge *merge, uint64_t offset, const struct chain_extent *extent)
{
    bool is_brought = merge->fetched_bytes >= extent->length;
    if (is_brought)
        merge->fetched_bytes -= extent->length;
    return !is_brought && read_marks_has(extent->node, offset, extent->length);
}

/* The piece's pages, unless they are kept, and what is left of a folio that began in those dropped
 * before. */
static void merge_drop_pages(struct merge *merge, const struct chain_extent *extent, bool keeps)
{
    struct merge_run *run = &merge->run;
    if (extent->host == EXTENT_NO_HOST)
        return;
    run->end = extent->host + extent->length;
    if (keeps) {
        run->begin = run->end;
        return;
    }
    if (run->begin + FOLIO_BYTES_MAX < extent->host)
        run->begin = extent->host - FOLIO_BYTES_MAX;
    posix_fadvise(extent->node->fd, (off_t)run->begin, (off_t)(run->end - run->begin),
                  POSIX_FADV_DONTNEED);
}

/* `offset` is where the extent begins; its content is not beneath base's mask (M1). */
static int merge_push(struct merge *merge, uint64_t offset, const struct chain_extent *extent)
{
    assert(extent->kind != EXTENT_BACKING && extent->depth > 0); /* M1 */
    assert(extent->depth <= merge->count - merge->floor);        /* M1 */
    if (extent->kind == EXTENT_ZERO)
        return node_zero(merge->base, offset, extent->length, true);
    const struct disk_range piece = {offset, extent->length};
    char *buf = writer_room(merge->writer, piece);
    if (!buf)
        return writer_await(merge->writer);
    merge_begin_run(merge, extent);
    uint64_t before = thread_fetched_bytes();
    int ret = node_read(merge->upper, buf, offset, extent->length);
    if (ret)
        return ret;
    merge->fetched_bytes += thread_fetched_bytes() - before;
    bool keeps = merge_keeps(merge, offset, extent);
    writer_add(merge->writer, piece, keeps);
    merge_drop_pages(merge, extent, keeps);
    return 0;
}

static int merge_report_push(const struct merge *merge, int ret, struct err *err)
{
    return atomic_load(&merge->base->sync_error) ? write_back_report(merge->base, ret, err)
                                                 : merge_report(merge, ret, "merged into", err);
}

int merge_copy(struct merge *merge, uint64_t *offset_bytes, uint64_t *copied_bytes, struct err *err)
{
    struct chain_extent extent;
    assert(merge->state == MERGE_THAWED);
    *copied_bytes = 0;
    int found = merge_find(merge, offset_bytes, &extent);
    int ret = found == 0 ? merge_push(merge, *offset_bytes, &extent) : found;
    if (ret < 0)
        return merge_report_push(merge, ret, err);
    if (ret > 0)
        return 1;
    if (extent.kind == EXTENT_DATA &&
        (ret = write_back_pace(&merge->write_back, merge->base, extent.length)) < 0)
        return write_back_report(merge->base, ret, err);
    *offset_bytes += extent.length;
    *copied_bytes = extent.length;
    return 0;
}

int merge_flush(struct merge *merge, struct err *err)
{
    assert(merge->state == MERGE_THAWED);
    int ret = merge->writer ? writer_await(merge->writer) : 0;
    if (ret)
        return merge_report_push(merge, ret, err);
    ret = node_flush(merge->base);
    return ret ? write_back_report(merge->base, ret, err) : 0;
}

/* ---- taking its place ---- */

static int child_rename(struct merge *merge, const struct merge_image *child, bool is_trial,
                        struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    CLEANUP(node) struct node *node = image_find_or_open(merge->block, child, err);
    if (!node && err->code == ErrDeviceInUse)
        openings_await(&merge->block->openings, child->path); /* it is found next time */
    if (!node || image_place_open(&merge->block->dir, node_used_path(node), &place, err) != 0)
        return -1;
    CLEANUP_FREE char *name = image_backing_name(&place, node_used_path(merge->base), err);
    const char *format = merge->base->driver->name;
    if (!name)
        return -1;
    return is_trial ? node_can_set_backing(node, name, format, err)
                    : node_set_backing(node, name, format, err);
}

int merge_can_rename(struct merge *merge, const struct merge_image *child, struct err *err)
{
    return child_rename(merge, child, true, err);
}

void merge_await_clones(struct merge *merge)
{
    children_await(&merge->block->openings, merge->upper);
}

int merge_rename(struct merge *merge, const struct merge_image *child, struct err *err)
{
    return child_rename(merge, child, false, err);
}

int merge_redirect(struct merge *merge, struct err *err)
{
    assert(merge->state != MERGE_REDIRECTED);
    if (exports_move(merge->block, merge->upper, merge->base, err) != 0)
        return -1;
    int ret = redirect_chains(merge->block, merge->upper, merge->base, &merge->locked_us, err);
    if (ret == 0 && merge->state == MERGE_THAWED)
        merge->state = MERGE_REDIRECTED;
    return ret;
}

uint64_t merge_locked_us(const struct merge *merge)
{
    return merge->locked_us;
}

int merge_end(struct merge *merge, struct err *err)
{
    assert(merge->state != MERGE_FROZEN);
    merge_end_writing(merge);
    if (merge->state == MERGE_REDIRECTED)
        node_release_freed(merge->base);
    int ret = node_freeze(merge->base);
    if (ret == 0 || atomic_load(&merge->base->sync_error)) /* it is frozen all the same */
        merge->state = MERGE_FROZEN;
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be made durable",
                         merge->base->path)
               : 0;
}
