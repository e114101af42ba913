/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a chain: the top, then what each header names, down to the base. See chain.h.
 *
 * Nothing is probed: a backing image's format is the one that the header above it records. A
 * relative name counts from the directory of the image that names it; if that was opened by a
 * symbolic link, from the link's, as in QEMU. A file met twice is a loop and refused.
 */
#include "block/image/chain.h"

#include "block/image/drivers.h"
#include "block/image/file-table.h"
#include "block/image/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct chain_open {
    const struct image_dir *dir;
    const struct chain_guard *guard;
    struct node *top; /* the nodes opened so far hang below it */
    struct node *last;
    struct node *shared; /* the first that other chains have too, or NULL */
    size_t count;
};

static int chain_check_loop(const struct chain_open *chain, const struct chain_file *file,
                            struct err *err)
{
    for (const struct node *node = chain->top; node; node = node->backing)
        if (node->dev == file->dev && node->ino == file->ino)
            return err_set(err, ErrInvalidBlockFormat, 0,
                           "image '%s' is its own backing file: loop '%s' -> '%s'", file->path,
                           chain->last->path, file->path);
    return 0;
}

/* Finds out which file the descriptor is of. */
static int chain_file_examine(struct chain_file *file, struct err *err)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0 || identity_of(file->fd, &file->identity) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be examined", file->path);
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    return 0;
}

static const atomic_bool *chain_unwanted(const struct chain_open *chain)
{
    return chain->guard ? chain->guard->is_unwanted : NULL;
}

/* The name that an image was opened by, if it is not the canonical one; NULL also if it is. -1 and
 * *err. */
static int chain_alias(const struct chain_open *chain, const char *path, const char *canonical,
                       char **alias, struct err *err)
{
    *alias = NULL;
    if (strcmp(path, canonical) == 0)
        return 0;
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    if (image_place_open(chain->dir, path, &place, err) != 0)
        return -1;
    if (strcmp(place.path, canonical) != 0)
        *alias = steal(place.path);
    return 0;
}

/* The driver of the next image, or NULL and *err. */
static const struct driver *chain_driver(const char *path, const char *format, struct err *err)
{
    char names[DRIVER_NAMES_BYTES];
    const struct driver *driver = driver_find(format);
    if (!driver)
        err_set(err, ErrInvalidBlockFormat, 0, "image '%s': unknown format '%s', use %s", path,
                format, driver_names(names));
    return driver;
}

static int chain_check_length(const struct chain_open *chain, size_t count, struct err *err)
{
    return count <= CHAIN_NODES_MAX ? 0
                                    : err_set(err, ErrInvalidBlockFormat, 0,
                                              "image '%s': its chain has more than %d images",
                                              chain->top->path, CHAIN_NODES_MAX);
}

/* What is beneath a node of other chains too is looked at once the chain is settled. */
static void chain_add(struct chain_open *chain, struct node *node)
{
    if (chain->last)
        node_add_backing(chain->last, node);
    else
        chain->top = node;
    chain->last = node;
    chain->count++;
}

/* The node of the file: one that the guard knows, which is shared if there is no *claim, or a new
 * one, which takes the descriptor. NULL: *err. */
static struct node *chain_node(struct chain_open *chain, struct chain_file *file, int *fd,
                               struct file_claim **claim, struct err *err)
{
    const struct chain_guard *guard = chain->guard;
    struct node *node = NULL;
    if (chain_file_examine(file, err) != 0 || chain_check_loop(chain, file, err) != 0 ||
        (guard && guard->admit(guard->arg, file, claim, &node, err) != 0))
        return NULL;
    chain->shared = node && !*claim ? node : NULL;
    if (node)
        return node;
    node = node_open_wanted(*fd, file->path, file->driver, file->read_only, NULL,
                            chain_unwanted(chain), err);
    if (node)
        steal_fd(fd);
    return node;
}

/* Opens one more image below those that are open. */
static int chain_append(struct chain_open *chain, const char *path, const char *format,
                        bool read_only, struct err *err)
{
    const struct driver *driver = chain_driver(path, format, err);
    if (!driver)
        return -1;
    CLEANUP_FREE char *canonical = NULL;
    CLEANUP_FREE char *alias = NULL;
    CLEANUP(claim) struct file_claim *claim = NULL; /* goes after the descriptor */
    CLEANUP_CLOSE int fd = image_open(chain->dir, path, read_only, &canonical, err);
    if (fd < 0 || chain_alias(chain, path, canonical, &alias, err) != 0)
        return -1;
    struct chain_file file = {.fd = fd,
                              .path = canonical,
                              .used_path = alias ? alias : canonical,
                              .driver = driver,
                              .read_only = read_only,
                              .depth = chain->count};
    struct node *node = chain_node(chain, &file, &fd, &claim, err);
    if (!node)
        return -1;
    if (!chain->shared) {
        node_add_claim(node, steal(claim));
        node_add_alias(node, steal(alias));
    }
    chain_add(chain, node);
    return chain_check_length(chain, chain->count, err);
}

/* Where the last image's header says the next one is; heap, NULL when memory is short. */
static char *chain_backing_path(const struct node *node)
{
    if (node->backing_file[0] == '/')
        return strdup(node->backing_file);
    char *path = NULL;
    const char *name = node_used_path(node);
    int directory_length = (int)(strrchr(name, '/') - name);
    if (asprintf(&path, "%.*s/%s", directory_length, name, node->backing_file) < 0)
        return NULL;
    return path;
}

static int chain_append_backing(struct chain_open *chain, struct err *err)
{
    const struct node *node = chain->last;
    if (!node->backing_format)
        return err_set(
            err, ErrInvalidBlockFormat, 0,
            "image '%s' records no format for its backing file '%s' and none is guessed; "
            "record it with qemu-img rebase -u -F",
            node->path, node->backing_file);
    CLEANUP_FREE char *path = chain_backing_path(node);
    if (!path)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", node->path);
    struct err cause;
    if (chain_append(chain, path, node->backing_format, true, &cause) == 0)
        return 0;
    return err_set(err, cause.code, 0, "backing file of '%s': %s", node->path, cause.message);
}

/* Offers the images that nobody writes to other chains, the lowest first: what is offered is not
 * changed any more. Where another chain was faster its node is used, in place of `node`, whose
 * reference is taken over. */
static struct node *chain_share(const struct chain_open *chain, struct node *node)
{
    if (node == chain->shared)
        return node;
    if (node->backing)
        node->backing = chain_share(chain, node->backing);
    struct node *other = node_share(node);
    if (other)
        node_unref(node);
    return other ? other : node;
}

static int chain_append_all(struct chain_open *chain, const char *path, const char *format,
                            bool read_only, struct err *err)
{
    int ret = chain_append(chain, path, format, read_only, err);
    while (ret == 0 && !chain->shared && chain->last->backing_file)
        ret = chain_append_backing(chain, err);
    return ret;
}

static int chain_check_all(const struct chain_open *chain, struct err *err)
{
    size_t count = 0;
    for (const struct node *node = chain->top; node; node = node->backing)
        count++;
    return chain_check_length(chain, count, err);
}

/* 0; -1 and *err; 1: again. An image that could not be opened stays the reason. */
static int chain_settle(struct chain_open *chain, int opened, struct err *err)
{
    const struct chain_guard *guard = chain->guard;
    struct node *top = opened == 0 ? chain->top : NULL;
    struct err ignored;
    int ret = 0;
    if (guard && guard->settle)
        ret = guard->settle(guard->arg, top, top ? err : &ignored);
    if (ret != 0)
        return ret;
    return top ? chain_check_all(chain, err) : opened;
}

struct node *chain_open(const struct image_dir *dir, const char *path, const char *format,
                        bool read_only, const struct chain_guard *guard, struct err *err)
{
    for (;;) {
        struct chain_open chain = {.dir = dir, .guard = guard};
        if (guard && guard->begin)
            guard->begin(guard->arg);
        int ret = chain_append_all(&chain, path, format, read_only, err);
        ret = chain_settle(&chain, ret, err);
        if (ret == 0)
            return chain_share(&chain, chain.top);
        if (chain.top)
            node_give_up(chain.top);
        if (ret < 0)
            return NULL;
    }
}
