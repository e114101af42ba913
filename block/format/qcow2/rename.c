/* SPDX-License-Identifier: Apache-2.0
 *
 * Naming another backing file in the header, so that a power loss leaves the old name or the new
 * one. The first cluster is
 *
 *     header | extensions, one with the backing format | end | free | name | free
 *
 * and a sector of 512 bytes is written whole or not at all. The fields with the place and the
 * length of the name, and the extension with the format, are in the first sector, so one write of
 * it changes all of them. The new name is
 *
 *     within the first sector, if it fits there    written with them
 *     else in a free part                          written and synced before them
 *
 *   N1  The bytes of the old name stay until the write that no longer needs them.
 *   N2  The list of extensions ends with a mark, so its end does not depend on where the name is.
 *       No assert: that is the file's affair.
 *
 * A header that is not like that, as other programs may make it, has no room.
 */
#include "block/format/qcow2/rename.h"

#include "block/format/qcow2/extension.h"

enum { SECTOR_BYTES = 512, FORMAT_BYTES_MAX = 8 /* an extension's data are padded to that */ };

struct rename {
    const struct image_spec *spec;
    uint64_t free_from;       /* behind the mark that ends the extensions */
    uint64_t old_at, old_end; /* the name */
    uint64_t format_at;       /* the data of the extension; 0: none */
    uint32_t format_length;
    uint64_t new_at;
    unsigned char sector[SECTOR_BYTES];
};

static int refuse(const struct node *node, struct err *err, const char *why)
{
    return err_set(err, ErrInvalidValue, 0,
                   "qcow2 image '%s': its header has no room for another backing file: %s",
                   node->path, why);
}

static int io_error(const struct node *node, int ret, struct err *err)
{
    return err_set(err, ErrOpenFileFailed, -ret, "the header of qcow2 image '%s' cannot be changed",
                   node->path);
}

/* Finds the end of the extensions and the one with the format. */
static int rename_find_extensions(const struct node *node, struct rename *rename, struct err *err)
{
    const struct qcow2 *q = node->state;
    for (uint64_t at = q->header_bytes;;) {
        uint32_t type, length;
        uint64_t start = at;
        int ret = qcow2_extension_read(q->fd, &at, rename->old_at, &type, &length);
        if (ret)
            return io_error(node, ret, err);
        if (type == QCOW2_EXTENSION_END) {
            rename->free_from = at;
            return at > start ? 0 : refuse(node, err, "its extensions have no end"); /* N2 */
        }
        if (type == QCOW2_EXTENSION_BACKING_FORMAT && rename->format_at)
            return refuse(node, err, "it records two formats");
        if (type == QCOW2_EXTENSION_BACKING_FORMAT) {
            rename->format_at = at;
            rename->format_length = length;
        }
        at = qcow2_extension_next(at, length);
    }
}

/* Whether the format that the header records is, or can become, the new one. */
static int rename_check_format(const struct node *node, const struct rename *rename,
                               struct err *err)
{
    size_t length = strlen(rename->spec->backing_format);
    if (!rename->format_at)
        return refuse(node, err, "it records no format");
    if (length < 1 || length > FORMAT_BYTES_MAX || rename->format_length < 1 ||
        rename->format_length > FORMAT_BYTES_MAX ||
        rename->format_at + FORMAT_BYTES_MAX > SECTOR_BYTES)
        return refuse(node, err, "the format does not fit where it records one");
    return 0;
}

/* Finds the place of the new name. */
static int rename_place(const struct node *node, struct rename *rename, struct err *err)
{
    const struct qcow2 *q = node->state;
    uint64_t length = strlen(rename->spec->backing_file);
    if (length < 1 || length > QCOW2_BACKING_NAME_MAX)
        return refuse(node, err, "the name is too long");
    if (rename->free_from + length <= SECTOR_BYTES || rename->free_from + length <= rename->old_at)
        rename->new_at = rename->free_from;
    else if (rename->old_end + length <= q->cluster_bytes)
        rename->new_at = rename->old_end;
    else
        return refuse(node, err, "the name does not fit into the first cluster");
    return 0;
}

static int rename_plan(const struct node *node, struct rename *rename, struct err *err)
{
    const struct qcow2 *q = node->state;
    struct qcow2_header_be *h = (struct qcow2_header_be *)(void *)rename->sector;
    int ret = file_read(q->fd, rename->sector, 0, SECTOR_BYTES);
    if (ret)
        return io_error(node, ret, err);
    rename->old_at = be64toh(h->backing_file_offset);
    rename->old_end = rename->old_at + be32toh(h->backing_file_size);
    assert(q->has_backing && rename->old_at < rename->old_end); /* header.c has checked it */
    if (rename_find_extensions(node, rename, err) != 0 ||
        rename_check_format(node, rename, err) != 0)
        return -1;
    return rename_place(node, rename, err);
}

static bool is_within_sector(const struct rename *rename)
{
    return rename->new_at + strlen(rename->spec->backing_file) <= SECTOR_BYTES;
}

/* Writes the name where nothing is, and syncs it. */
static int name_write(struct node *node, int fd, const struct rename *rename)
{
    const char *name = rename->spec->backing_file;
    uint64_t end = rename->new_at + strlen(name);
    assert(end <= rename->old_at || rename->new_at >= rename->old_end); /* N1 */
    (void)end;
    int ret = file_write(fd, name, rename->new_at, strlen(name));
    return ret ? ret : node_sync(node);
}

/* Changes the first sector in one write. Other fields of it may have changed since it was read. */
static int sector_write(struct qcow2 *q, int fd, struct rename *rename)
{
    struct qcow2_header_be *h = (struct qcow2_header_be *)(void *)rename->sector;
    const char *name = rename->spec->backing_file, *format = rename->spec->backing_format;
    LOCK_GUARD(&q->lock);
    int ret = file_read(fd, rename->sector, 0, SECTOR_BYTES);
    if (ret)
        return ret;
    h->backing_file_offset = htobe64(rename->new_at);
    h->backing_file_size = htobe32((uint32_t)strlen(name));
    if (is_within_sector(rename))
        memcpy(rename->sector + rename->new_at, name, strlen(name));
    uint32_t length = htobe32((uint32_t)strlen(format));
    memcpy(rename->sector + rename->format_at - sizeof(length), &length, sizeof(length));
    memset(rename->sector + rename->format_at, 0, FORMAT_BYTES_MAX);
    memcpy(rename->sector + rename->format_at, format, strlen(format));
    return file_write(fd, rename->sector, 0, SECTOR_BYTES);
}

static int rename_write(struct node *node, int fd, struct rename *rename, struct err *err)
{
    CLEANUP_FREE char *name = strdup(rename->spec->backing_file);
    CLEANUP_FREE char *format = strdup(rename->spec->backing_format);
    if (!name || !format)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s'", node->path);
    int ret = is_within_sector(rename) ? 0 : name_write(node, fd, rename);
    if (ret == 0)
        ret = sector_write(node->state, fd, rename);
    if (ret == 0)
        ret = node_sync(node);
    if (ret)
        return io_error(node, ret, err);
    free(node->backing_file);
    free(node->backing_format);
    node->backing_file = steal(name);
    node->backing_format = steal(format);
    return 0;
}

int qcow2_rename(struct node *node, int fd, const struct image_spec *spec, struct err *err)
{
    const struct qcow2 *q = node->state;
    struct rename rename = {.spec = spec};
    if (!q->has_backing)
        return refuse(node, err, "it has none");
    if (rename_plan(node, &rename, err) != 0)
        return -1;
    return fd < 0 ? 0 : rename_write(node, fd, &rename, err);
}
