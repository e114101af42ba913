/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and validating the header and the tables that it leads to. Every field is hostile until
 * it was checked here: sizes against limits, offsets against alignment and overflow, lengths
 * against the space they must fit in. Errors name the field or the feature. Source: qcow2
 * specification, "Header", "Feature name table", "Snapshots".
 */
#include "block/format/qcow2/header.h"

#include "block/format/qcow2/backing-name.h"
#include "block/format/qcow2/extension.h"
#include "block/format/qcow2/tables.h"

#include <stdio.h>
#include <sys/stat.h>

static int refuse(const struct node *node, struct err *err, const char *why)
{
    return err_set(err, ErrInvalidBlockFormat, 0, "qcow2 image '%s': %s", node->path, why);
}

static int header_read_error(const struct node *node, int ret, struct err *err)
{
    return err_set(err, ErrOpenFileFailed, -ret, "qcow2 image '%s' cannot be read", node->path);
}

/* ---- fields ---- */

static int header_check_size(const struct node *node, const struct qcow2 *q,
                             const struct qcow2_header_be *h, struct err *err)
{
    uint64_t size = be64toh(h->size);
    if (size > DEVICE_SIZE_MAX_BYTES)
        return refuse(node, err, "its disk size is larger than 8 PiB");
    uint64_t needed = qcow2_clusters(q, size);
    needed = (needed >> q->l2_bits) + !!(needed & ((1ULL << q->l2_bits) - 1));
    if ((uint64_t)q->l1_entries * sizeof(uint64_t) > QCOW2_L1_BYTES_MAX)
        return refuse(node, err, "its L1 table is larger than 32 MiB");
    if (q->l1_entries < needed)
        return refuse(node, err, "its L1 table is too small for its disk");
    return 0;
}

/* Whether a table of `bytes` can lie at `offset`: aligned, and no overflow. */
static bool table_fits(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    return offset % q->cluster_bytes == 0 && offset <= QCOW2_OFFSET_MASK &&
           bytes <= (uint64_t)INT64_MAX - offset;
}

/* QEMU rejects an unaligned offset even without snapshots, but then accepts any aligned one. */
static int header_check_snapshots(const struct node *node, const struct qcow2 *q, struct err *err)
{
    if (q->snapshot_count > QCOW2_SNAPSHOTS_MAX)
        return refuse(node, err, "it has too many internal snapshots");
    if (q->snapshots_offset % q->cluster_bytes || q->snapshots_offset > INT64_MAX ||
        (q->snapshot_count && !table_fits(q, q->snapshots_offset, QCOW2_SNAPSHOT_TABLE_BYTES_MAX)))
        return refuse(node, err,
                      "its snapshot table (snapshots_offset) lies at an impossible offset");
    return 0;
}

static int header_check_tables(const struct node *node, struct qcow2 *q,
                               const struct qcow2_header_be *h, struct err *err)
{
    uint64_t bytes = (uint64_t)be32toh(h->refcount_table_clusters) << q->cluster_bits;
    q->refcount_table_offset = be64toh(h->refcount_table_offset);
    if (bytes == 0 || bytes > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
        return refuse(node, err, "its refcount table has an impossible size");
    q->refcount_table_entries = q->refcount_table_disk_entries = bytes / sizeof(uint64_t);
    if (q->refcount_table_offset == 0 || !table_fits(q, q->refcount_table_offset, bytes))
        return refuse(node, err, "its refcount table lies at an impossible offset");
    if (q->l1_entries && (q->l1_offset == 0 || !table_fits(q, q->l1_offset, q->l1_entries * 8ULL)))
        return refuse(node, err, "its L1 table lies at an impossible offset");
    return header_check_snapshots(node, q, err);
}

static int header_take_geometry(struct node *node, struct qcow2 *q, const struct qcow2_header_be *h,
                                struct err *err)
{
    q->cluster_bits = be32toh(h->cluster_bits);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return refuse(node, err, "its cluster size is not between 512 bytes and 2 MiB");
    if (q->has_extended_l2 && q->cluster_bits < 14)
        return refuse(node, err, "extended L2 entries need clusters of at least 16 KiB");
    if (q->refcount_order > 6)
        return refuse(node, err, "its refcounts are wider than 64 bits");
    q->cluster_bytes = 1ULL << q->cluster_bits;
    node->cluster_bytes = q->cluster_bytes;
    q->subcluster_bytes =
        q->has_extended_l2 ? q->cluster_bytes / QCOW2_SUBCLUSTERS : q->cluster_bytes;
    node->copy_bytes = q->subcluster_bytes;
    q->l2_entry_bytes = q->has_extended_l2 ? 16 : 8;
    q->l2_bits = q->cluster_bits - (q->has_extended_l2 ? 4 : 3);
    q->l1_entries = be32toh(h->l1_size);
    q->l1_offset = be64toh(h->l1_table_offset);
    q->snapshot_count = be32toh(h->nb_snapshots);
    q->snapshots_offset = be64toh(h->snapshots_offset);
    return header_check_size(node, q, h, err) ? -1 : header_check_tables(node, q, h, err);
}

/* ---- features ---- */

/* Returns the name of an incompatible feature bit in the image's feature name table, or "". */
static void feature_name(const unsigned char *table, uint32_t length, unsigned bit, char name[47])
{
    *name = 0;
    for (uint32_t at = 0; at + 48 <= length; at += 48)
        if (table[at] == 0 && table[at + 1] == bit) {
            snprintf(name, 47, "%.46s", (const char *)table + at + 2);
            for (char *c = name; *c; c++)
                if (*c < ' ' || *c > '~')
                    *c = '?';
        }
}

static int header_check_features(const struct node *node, const struct qcow2 *q,
                                 const unsigned char *names, uint32_t names_length, struct err *err)
{
    if (q->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
        return refuse(node, err,
                      "an external data file (incompatible feature bit 2) is not supported");
    for (unsigned bit = 5; bit < 64; bit++) {
        char name[47], why[128];
        if (!(q->incompatible >> bit & 1))
            continue;
        feature_name(names, names_length, bit, name);
        snprintf(why, sizeof(why), "unknown incompatible feature bit %u%s%s%s is not supported",
                 bit, *name ? " ('" : "", name, *name ? "')" : "");
        return refuse(node, err, why);
    }
    if (q->autoclear & QCOW2_AUTOCLEAR_RAW_DATA)
        return refuse(node, err, "raw external data (autoclear feature bit 1) is not supported");
    if ((q->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) && !atomic_load(&node->read_only))
        return refuse(
            node, err,
            "it is marked corrupt (incompatible feature bit 1); attach it read-only or run "
            "qemu-img check -r all");
    return 0;
}

static int header_take_v3(const struct node *node, struct qcow2 *q, const struct qcow2_header_be *h,
                          struct err *err)
{
    q->incompatible = be64toh(h->incompatible_features);
    q->autoclear = be64toh(h->autoclear_features);
    q->refcount_order = be32toh(h->refcount_order);
    q->header_bytes = be32toh(h->header_length);
    q->has_extended_l2 = q->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
    if (q->header_bytes < QCOW2_HEADER_V3_BYTES)
        return refuse(node, err, "its header is too short");
    uint8_t type = q->header_bytes > QCOW2_HEADER_V3_BYTES ? h->compression_type : 0;
    if (type > 1)
        return refuse(node, err, "its compression type is neither deflate nor zstd");
    if ((type != 0) != !!(q->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION))
        return refuse(node, err,
                      "its compression type and incompatible feature bit 3 do not agree");
    q->is_zstd = type == 1;
    return 0;
}

static int header_check_encryption(const struct node *node, const struct qcow2_header_be *h,
                                   struct err *err)
{
    switch (be32toh(h->crypt_method)) {
    case 0:
        return 0;
    case 1:
        return refuse(node, err, "AES encryption is not supported");
    case 2:
        return refuse(node, err, "LUKS encryption is not supported");
    default:
        return refuse(node, err, "unknown encryption is not supported");
    }
}

/* ---- extensions ---- */

/* Uses the data of one extension; `names` gets the feature name table. The format in a backing
 * file's name is overridden by the format that the header records, as in QEMU. */
static void header_take_extension(struct node *node, const struct qcow2 *q, uint32_t type,
                                  unsigned char *data, bool *has_format, unsigned char **names)
{
    if (type == QCOW2_EXTENSION_BACKING_FORMAT && q->has_backing && !*has_format) {
        free(node->backing_format);
        node->backing_format = (char *)data;
        *has_format = true;
    } else if (type == QCOW2_EXTENSION_FEATURE_NAMES && !*names) {
        *names = data;
    } else {
        free(data);
    }
}

static int header_take_extensions(struct node *node, struct qcow2 *q, uint64_t limit,
                                  unsigned char **names, uint32_t *names_length, struct err *err)
{
    bool has_format = false;
    for (uint64_t at = q->header_bytes;;) {
        uint32_t type, length = 0;
        int ret = qcow2_extension_read(q->fd, &at, limit, &type, &length);
        if (ret == -EINVAL)
            return refuse(node, err, "a header extension is longer than the header");
        if (ret)
            return header_read_error(node, ret, err);
        if (type == QCOW2_EXTENSION_END)
            return 0;
        unsigned char *data = qcow2_extension_data(q->fd, at, length);
        if (!data)
            return refuse(node, err, "a header extension cannot be read");
        if (type == QCOW2_EXTENSION_FEATURE_NAMES && !*names)
            *names_length = length;
        header_take_extension(node, q, type, data, &has_format, names);
        if (type == QCOW2_EXTENSION_STAMP && length == JOURNAL_STAMP_BYTES)
            node->stamp_at = at;
        at = qcow2_extension_next(at, length);
    }
}

/* Takes the backing file's name from the first cluster. An empty name is none wherever it lies, as
 * in QEMU. */
static int header_take_backing(struct node *node, struct qcow2 *q, const struct qcow2_header_be *h,
                               struct err *err)
{
    uint64_t offset = be64toh(h->backing_file_offset);
    uint32_t length = be32toh(h->backing_file_size);
    if (offset && length > QCOW2_BACKING_NAME_MAX)
        return refuse(node, err, "its backing file's name has an impossible length");
    if (offset && (offset > q->cluster_bytes || length > q->cluster_bytes - offset ||
                   (length && offset < q->header_bytes)))
        return refuse(node, err, "its backing file's name lies outside the header");
    if (offset == 0 || length == 0)
        return 0;
    CLEANUP_FREE char *name = (char *)qcow2_extension_data(q->fd, offset, length);
    if (!name)
        return refuse(node, err, "its backing file's name cannot be read");
    if (strlen(name) != length)
        return refuse(node, err, "its backing file's name has a zero byte");
    if (qcow2_backing_name(name, &node->backing_file, &node->backing_format, err) != 0) {
        struct err cause = *err;
        return err_set(err, cause.code, 0, "qcow2 image '%s': %s", node->path, cause.message);
    }
    q->has_backing = true;
    return 0;
}

/* ---- tables ---- */

static int header_load_tables(struct node *node, struct qcow2 *q, struct err *err)
{
    int ret = qcow2_table_load(q->fd, q->l1_offset, q->l1_entries, &q->l1);
    if (ret)
        return header_read_error(node, ret, err);
    q->l1_dirty = calloc(1, q->l1_entries + 1);
    if (!q->l1_dirty)
        return header_read_error(node, -ENOMEM, err);
    q->refcount_table_known = q->refcount_table_entries;
    ret = qcow2_table_load_used(q->fd, q->refcount_table_offset, &q->refcount_table_known,
                                &q->refcount_table);
    if (ret)
        return header_read_error(node, ret, err);
    for (uint64_t i = 0; i < q->refcount_table_known; i++)
        if (q->refcount_table[i] & (q->cluster_bytes - 1) ||
            q->refcount_table[i] > QCOW2_OFFSET_MASK)
            return refuse(node, err, "a refcount block lies at an impossible offset");
    return 0;
}

/* Converts a snapshot's entry and checks it: its tables cost memory, so they must be in the file,
 * and their sum has a limit. */
static bool snapshot_take(const struct qcow2 *q, const struct qcow2_snapshot_be *be,
                          uint64_t file_bytes, struct qcow2_snapshot *snapshot, uint64_t *l1_bytes)
{
    snapshot->l1_offset = be64toh(be->l1_table_offset);
    snapshot->l1_entries = be32toh(be->l1_size);
    uint64_t bytes = snapshot->l1_entries * 8ULL;
    if (bytes > QCOW2_L1_BYTES_MAX || !table_fits(q, snapshot->l1_offset, bytes) ||
        snapshot->l1_offset + bytes > file_bytes)
        return false;
    *l1_bytes += bytes;
    return *l1_bytes <= QCOW2_SNAPSHOT_L1_BYTES_MAX;
}

static int header_load_snapshots(struct node *node, struct qcow2 *q, struct err *err)
{
    struct stat st;
    uint64_t at = q->snapshots_offset, l1_bytes = 0;
    if (fstat(q->fd, &st) != 0)
        return header_read_error(node, -errno, err);
    q->snapshots = calloc(q->snapshot_count + 1, sizeof(*q->snapshots));
    if (!q->snapshots)
        return header_read_error(node, -ENOMEM, err);
    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        struct qcow2_snapshot_be be;
        int ret = file_read(q->fd, &be, at, sizeof(be));
        if (ret)
            return header_read_error(node, ret, err);
        if (!snapshot_take(q, &be, (uint64_t)st.st_size, &q->snapshots[i], &l1_bytes))
            return refuse(node, err, "an internal snapshot's L1 table is impossible");
        uint64_t length = sizeof(be) + (uint64_t)be32toh(be.extra_data_size) + be16toh(be.id_size) +
                          be16toh(be.name_size);
        at += (length + 7) & ~7ULL;
        if (at - q->snapshots_offset > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
            return refuse(node, err, "its snapshot table is too large");
    }
    q->snapshots_bytes = at - q->snapshots_offset;
    return 0;
}

/* ---- the whole header ---- */

static int header_read(const struct node *node, struct qcow2 *q, struct qcow2_header_be *h,
                       struct err *err)
{
    memset(h, 0, sizeof(*h));
    int ret = file_read(q->fd, h, 0, QCOW2_HEADER_V2_BYTES);
    if (ret == -EIO || (ret == 0 && be32toh(h->magic) != QCOW2_MAGIC))
        return refuse(node, err, "it does not start with qcow2's magic number");
    if (ret)
        return header_read_error(node, ret, err);
    q->version = be32toh(h->version);
    if (q->version != 2 && q->version != 3)
        return refuse(node, err, "its version is neither 2 nor 3");
    q->refcount_order = 4;
    q->header_bytes = QCOW2_HEADER_V2_BYTES;
    if (q->version == 2)
        return 0;
    ret = file_read(q->fd, h, 0, QCOW2_HEADER_V3_BYTES);
    if (ret)
        return refuse(node, err, "its header is too short");
    if (be32toh(h->header_length) > QCOW2_HEADER_V3_BYTES &&
        file_read(q->fd, h, 0, sizeof(*h)) != 0)
        return refuse(node, err, "its header is too short");
    return header_take_v3(node, q, h, err);
}

int qcow2_header_load(struct node *node, struct qcow2 *q, struct err *err)
{
    struct qcow2_header_be h;
    CLEANUP_FREE unsigned char *names = NULL;
    uint32_t names_length = 0;
    if (header_read(node, q, &h, err) != 0 || header_check_encryption(node, &h, err) != 0 ||
        header_take_geometry(node, q, &h, err) != 0)
        return -1;
    if (q->header_bytes > q->cluster_bytes)
        return refuse(node, err, "its header is longer than a cluster");
    if (header_take_backing(node, q, &h, err) != 0)
        return -1;
    uint64_t limit = h.backing_file_offset ? be64toh(h.backing_file_offset) : q->cluster_bytes;
    if (header_take_extensions(node, q, limit, &names, &names_length, err) != 0 ||
        header_check_features(node, q, names, names_length, err) != 0 ||
        header_load_tables(node, q, err) != 0 || header_load_snapshots(node, q, err) != 0)
        return -1;
    node->size_bytes = (be64toh(h.size) + BLOCK_SECTOR_BYTES - 1) & ~(BLOCK_SECTOR_BYTES - 1ULL);
    return 0;
}

int qcow2_header_store_features(struct node *node, uint64_t field, uint64_t value)
{
    uint64_t word = htobe64(value);
    int ret = file_write(node->fd, &word, field, sizeof(word));
    return ret ? ret : node_sync(node);
}
