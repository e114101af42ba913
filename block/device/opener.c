/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a chain of images: admission of its files. See opener.h.
 */
#include "block/device/opener.h"

#include "block/device/users.h"
#include "block/frozen.h"
#include "block/image/frozen-attribute.h"
#include "block/image/journal-recovery.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Who opens a chain, and the terms that he accepts. */
struct opener {
    struct opening *opening;
    struct recovery_terms terms;
    const char *identity; /* of the top, as recorded; NULL or "": unknown */
    const char *image;
    bool is_writer; /* of the top, which no other chain has then */
};

/* Refuses to write a file that was frozen, though not by a group that is known here. */
static int opener_check_attribute(const struct chain_file *file, struct err *err)
{
    if (!frozen_attribute_is_set(file->fd, &file->identity))
        return 0;
    return err_set(err, ErrImageInUse, 0,
                   "image '%s' is frozen by a snapshot group that is not in this database, as if "
                   "that were older than the image, or another daemon's; restore the newest one, "
                   "attach the image read-only, or remove its attribute " FROZEN_ATTRIBUTE,
                   file->path);
}

/* Files that were frozen by an older daemon, or just before this one was killed, are not marked. */
static void opener_mark_frozen(struct block *block, const struct chain_file *file)
{
    if (file_table_is_frozen(block->files, &file->identity, file->path))
        frozen_attribute_set(file->fd, &file->identity);
}

/* Refuses to write a frozen file; the message names the group if one offers the image. */
static int opener_check_frozen(struct block *block, const struct chain_file *file, struct err *err)
{
    if (!file_table_is_frozen(block->files, &file->identity, file->path))
        return opener_check_attribute(file, err);
    LOCK_GUARD(&block->lock);
    const struct frozen *frozen = block->frozen;
    while (frozen && strcmp(frozen->image, file->path) != 0)
        frozen = frozen->next;
    return err_set(
        err, ErrImageInUse, 0,
        "image '%s' is frozen by %s%s%s; attach it read-only, or write to an overlay of it",
        file->path, frozen ? "snapshot group '" : "a snapshot group", frozen ? frozen->group : "",
        frozen ? "'" : "");
}

/* The top must be the recorded file: another one under its path is neither served nor changed. */
static int opener_check_identity(const struct opener *opener, const struct chain_file *file,
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

int opener_check_in_place(const struct held_chain *chain, struct err *err)
{
    for (size_t i = 0; i < chain->count; i++) {
        const struct node *node = chain->nodes[i];
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

/* Others use the file, or memory is short. A frozen one stays so when they are gone. Returns -1. */
static int opener_refuse(struct block *block, const struct chain_file *file,
                         const struct file_use *use, struct err *err)
{
    if (err->code != ErrDeviceInUse || image_user_report(block, use, err) == 0 ||
        err->code == ErrImageInUse || file->read_only)
        return -1;
    return file_table_is_frozen(block->files, &file->identity, file->path)
               ? opener_check_frozen(block, file, err)
               : -1;
}

/* Admits one file: checks the identity of a top, claims the file, rejects a writer of a frozen
 * file, replays its journal. */
static int opener_admit(void *arg, const struct chain_file *file, struct file_claim **claim,
                        struct node **node, struct err *err)
{
    const struct opener *opener = arg;
    struct block *block = opener->opening->block;
    const struct file_use use = {file->dev, file->ino, file->path, file->read_only};
    if (opener_check_identity(opener, file, err) != 0)
        return -1;
    if (file->read_only && (*node = file_table_shared(block->files, file->dev, file->ino,
                                                      file->used_path, file->driver)))
        return 0;
    *claim = file_table_claim(block->files, &use, err);
    if (!*claim)
        return opener_refuse(block, file, &use, err);
    if (!file->read_only && opener_check_frozen(block, file, err) != 0)
        return -1;
    if (file->read_only)
        opener_mark_frozen(block, file);
    return journal_recovery_admit(block->journals, &opener->terms, file, node, err);
}

static void opener_begin(void *arg)
{
    const struct opener *opener = arg;
    opening_begin(opener->opening, opener->image);
}

/* The journal of a top that is written marks the image: it waits for storage, so it comes first.
 * Whoever only reads may have found an image that a merge writes. */
static int opener_settle(void *arg, struct node *top, struct err *err)
{
    const struct opener *opener = arg;
    bool is_new = top && opener->is_writer && !atomic_load(&top->read_only) && !top->journal;
    if (is_new && node_add_journal(top, journal_dir_fd(opener->opening->block->journals), err) != 0)
        return -1;
    return opening_settle(opener->opening, top) ? 0 : 1;
}

static struct chain_guard opener_guard(struct opener *opener)
{
    return (struct chain_guard){
        .admit = opener_admit, .arg = opener, .begin = opener_begin, .settle = opener_settle};
}

struct node *opener_open_image(struct opening *opening, const char *image, const char *format,
                               const char *identity, struct err *err)
{
    struct opener opener = {
        .opening = opening, .terms.is_restored = true, .identity = identity, .image = image};
    const struct chain_guard guard = opener_guard(&opener);
    struct node *top = chain_open(&opening->block->dir, image, format, true, &guard, err);
    assert(!top || opening->is_settled); /* O1, O2 */
    return top;
}

static int frozen_file_fill(struct frozen_file *file, const struct node *node)
{
    memcpy(file->identity, node->identity.text, sizeof(file->identity));
    file->path = strdup(node->path);
    return file->path ? 0 : -1;
}

int opener_list_unfrozen(struct block *block, const struct node *top, struct frozen_file **files,
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

void chain_images_free(struct chain_image *chain, size_t length)
{
    for (size_t i = 0; i < length; i++)
        free(chain[i].image);
    free(chain);
}

/* `listed` has room, and is zeroed. */
static int chain_images_fill(struct chain_image *listed, const struct node *top)
{
    for (const struct node *node = top; node; node = node->backing, listed++) {
        listed->image = strdup(node->path);
        listed->format = node->driver->name;
        listed->size_bytes = node->size_bytes;
        memcpy(listed->identity, node->identity.text, sizeof(listed->identity));
        if (!listed->image)
            return -1;
    }
    return 0;
}

int block_chain_list(struct block *block, const char *image, const char *format,
                     struct chain_image **chain, size_t *length, struct err *err)
{
    CLEANUP(node) struct node *top = NULL;
    CLEANUP_OPENING struct opening opening = OPENING_OF(block); /* ends before files are closed */
    top = opener_open_image(&opening, image, format, NULL, err);
    *length = 0;
    if (!top)
        return -1;
    for (const struct node *node = top; node; node = node->backing)
        ++*length;
    *chain = calloc(*length, sizeof(**chain));
    if (*chain && chain_images_fill(*chain, top) == 0)
        return 0;
    chain_images_free(*chain, *chain ? *length : 0);
    return err_set(err, ErrOutOfResources, ENOMEM, "the chain of '%s' cannot be listed", image);
}

int block_chain_files(struct block *block, const char *image, const char *format,
                      struct frozen_file **files, size_t *count, struct err *err)
{
    CLEANUP(node) struct node *top = NULL;
    CLEANUP_OPENING struct opening opening = OPENING_OF(block); /* ends before files are closed */
    top = opener_open_image(&opening, image, format, NULL, err);
    if (!top)
        return -1;
    if (opener_list_unfrozen(block, top, files, count) != 0)
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

void block_frozen_file_forget(struct block *block, const char *identity, const char *path)
{
    struct identity known = {.is_lasting = true};
    snprintf(known.text, sizeof(known.text), "%s", identity);
    file_table_unmark(block->files, &known, path);
}

/* The file at `image`, open, with its path and identity; or -1. */
static int frozen_file_open(struct block *block, const char *image, char **path, struct stat *st,
                            struct identity *identity, struct err *err)
{
    CLEANUP_CLOSE int fd = image_open(&block->dir, image, true, path, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, st) != 0 || identity_of(fd, identity) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be examined", *path);
    return steal_fd(&fd);
}

int block_frozen_file_find(struct block *block, const char *image, struct frozen_file *file,
                           struct err *err)
{
    struct stat st;
    struct identity identity;
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = frozen_file_open(block, image, &path, &st, &identity, err);
    if (fd < 0)
        return -1;
    if (!file_table_is_frozen(block->files, &identity, path) ||
        file_table_is_used(block->files, st.st_dev, st.st_ino))
        return 0;
    *file = (struct frozen_file){.path = steal(path), .is_by_path = !identity.is_lasting};
    memcpy(file->identity, identity.text, sizeof(file->identity));
    return 1;
}

int block_frozen_file_unmark(struct block *block, const struct frozen_file *file, struct err *err)
{
    struct stat st;
    struct identity identity;
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = frozen_file_open(block, file->path, &path, &st, &identity, err);
    if (fd < 0)
        return -1;
    int ret = frozen_attribute_is_set(fd, &identity) ? frozen_attribute_clear(fd) : 0;
    return ret ? err_set(err, ErrOpenFileFailed, -ret,
                         "attribute " FROZEN_ATTRIBUTE " of image '%s' cannot be removed", path)
               : 0;
}

void block_frozen_file_release(struct block *block, const struct frozen_file *file)
{
    struct identity identity = {.is_lasting = !file->is_by_path};
    memcpy(identity.text, file->identity, sizeof(identity.text));
    file_table_unfreeze(block->files, &identity, file->path);
}

struct node *opener_open_chain(struct opening *opening, const struct device *device,
                               const struct device_spec *spec, struct err *err)
{
    struct block *block = opening->block;
    struct opener opener = {.opening = opening,
                            .terms = {spec->is_restored, spec->discard_unflushed},
                            .identity = device->identity,
                            .image = spec->image,
                            .is_writer = !spec->read_only};
    struct chain_guard guard = opener_guard(&opener);
    guard.is_unwanted = &device->is_unwanted;
    struct node *top =
        chain_open(&block->dir, spec->image, spec->format, spec->read_only, &guard, err);
    assert(!top || opening->is_settled); /* O1, O2 */
    if (!top || spec->read_only ||
        node_begin_writing(top, journal_dir_fd(block->journals), err) == 0)
        return top;
    opening_end(opening);
    node_give_up(top);
    return NULL;
}
