/* SPDX-License-Identifier: Apache-2.0
 *
 * Creating an image: version 3, nothing allocated.
 *
 *     cluster 0    header | group id | backing format | stamp | end | backing file name
 *     then         refcount table | refcount blocks | L1 table (all zeros)
 *
 * The counts of these clusters are 1; there is no other content. Only what is not zero is written,
 * of most images three pieces of less than 4 KiB; the rest is a hole. Who first changes a table
 * allocates its space (space.c).
 */
#include "block/format/qcow2/create.h"

#include <errno.h>
#include <unistd.h>

enum {
    CLUSTER_BITS_MAX = 21,
    REFCOUNT_BYTES = 2,
    HEADER_BYTES_MAX = 4096,
    EXTENSIONS_BYTES = 64, /* but for the words of the backing file, and the stamp */
    STAMP_BYTES = sizeof(struct qcow2_extension_be) + JOURNAL_STAMP_BYTES,
};
static_assert(CLUSTER_BYTES_MAX == 1 << CLUSTER_BITS_MAX, "largest cluster");

struct layout {
    uint32_t cluster_bits;
    uint64_t cluster_bytes, l1_entries, l1_clusters, table_clusters, blocks;
};

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return value / by + !!(value % by);
}

/* Computes the clusters of each part; the refcount blocks count themselves too. */
static void layout_fill(struct layout *layout, const struct image_spec *spec, uint32_t cluster_bits)
{
    uint64_t bytes = 1ULL << cluster_bits, entries = bytes / (spec->extended_l2 ? 16 : 8);
    *layout = (struct layout){.cluster_bits = cluster_bits, .cluster_bytes = bytes};
    layout->l1_entries = divide_up(divide_up(spec->size_bytes, bytes), entries);
    if (layout->l1_entries == 0)
        layout->l1_entries = 1;
    layout->l1_clusters = divide_up(layout->l1_entries * sizeof(uint64_t), bytes);
    for (uint64_t used = 0, before = 1; used != before;) {
        before = used;
        layout->blocks = divide_up(used ? used : 1, bytes / REFCOUNT_BYTES);
        layout->table_clusters = divide_up(layout->blocks * sizeof(uint64_t), bytes);
        used = 1 + layout->table_clusters + layout->blocks + layout->l1_clusters;
    }
}

static bool layout_is_too_large(const struct layout *layout)
{
    return layout->l1_entries * sizeof(uint64_t) > QCOW2_L1_BYTES_MAX;
}

/* The cluster size, at least that many bytes, at which the L1 table has a legal size. */
static uint32_t cluster_bytes_fitted(const struct image_spec *spec, uint32_t cluster_bytes)
{
    uint32_t bits = (uint32_t)__builtin_ctz(cluster_bytes);
    struct layout layout;
    layout_fill(&layout, spec, bits);
    while (layout_is_too_large(&layout) && bits < CLUSTER_BITS_MAX)
        layout_fill(&layout, spec, ++bits);
    return 1u << bits;
}

static int layout_choose(struct layout *layout, const struct image_spec *spec, struct err *err)
{
    uint32_t cluster_bytes = spec->cluster_bytes;
    /* By default a disk too large for its L1 table gets larger clusters. */
    if (!cluster_bytes)
        cluster_bytes = cluster_bytes_fitted(spec, IMAGE_CLUSTER_BYTES);
    if (!cluster_shape_is_valid((struct cluster_shape){cluster_bytes, spec->extended_l2}))
        return err_set(
            err, ErrInvalidBlockFormat, 0,
            "qcow2 clusters are a power of two from 512 bytes to 2 MiB (with extended L2 "
            "from 16 KiB)");
    layout_fill(layout, spec, (uint32_t)__builtin_ctz(cluster_bytes));
    if (layout_is_too_large(layout))
        return err_set(err, ErrInvalidValue, 0,
                       "qcow2 clusters of %llu bytes are too small for a disk of %llu bytes",
                       (unsigned long long)layout->cluster_bytes,
                       (unsigned long long)spec->size_bytes);
    return 0;
}

static void extension_put(unsigned char *header, uint64_t *at, uint32_t type, const void *data,
                          uint32_t length)
{
    struct qcow2_extension_be extension = {htobe32(type), htobe32(length)};
    memcpy(header + *at, &extension, sizeof(extension));
    memcpy(header + *at + sizeof(extension), data, length);
    *at += sizeof(extension) + ((length + 7) & ~7u);
}

/* Writes the extensions; returns where they end. */
static uint64_t extensions_put(unsigned char *header, const struct image_spec *spec, bool has_stamp)
{
    static const unsigned char stamp[JOURNAL_STAMP_BYTES];
    uint64_t at = sizeof(struct qcow2_header_be);
    if (spec->group_id)
        extension_put(header, &at, QCOW2_EXTENSION_GROUP_ID, spec->group_id, OWNER_ID_BYTES);
    if (spec->backing_file)
        extension_put(header, &at, QCOW2_EXTENSION_BACKING_FORMAT, spec->backing_format,
                      (uint32_t)strlen(spec->backing_format));
    if (has_stamp)
        extension_put(header, &at, QCOW2_EXTENSION_STAMP, stamp, sizeof(stamp));
    extension_put(header, &at, QCOW2_EXTENSION_END, "", 0);
    return at;
}

/* The fields of the header; the name of the backing file, if there is one, is at `name_at`. */
static struct qcow2_header_be header_fields(const struct layout *layout,
                                            const struct image_spec *spec, size_t name,
                                            uint64_t name_at)
{
    uint64_t l1 = 1 + layout->table_clusters + layout->blocks;
    return (struct qcow2_header_be){
        .magic = htobe32(QCOW2_MAGIC),
        .version = htobe32(3),
        .backing_file_offset = htobe64(name ? name_at : 0),
        .backing_file_size = htobe32((uint32_t)name),
        .cluster_bits = htobe32(layout->cluster_bits),
        .size = htobe64(spec->size_bytes),
        .l1_size = htobe32((uint32_t)layout->l1_entries),
        .l1_table_offset = htobe64(l1 * layout->cluster_bytes),
        .refcount_table_offset = htobe64(layout->cluster_bytes),
        .refcount_table_clusters = htobe32((uint32_t)layout->table_clusters),
        .incompatible_features = htobe64(spec->extended_l2 ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0),
        .refcount_order = htobe32(4),
        .header_length = htobe32(sizeof(struct qcow2_header_be)),
    };
}

/* Fills the first cluster; *length: as far as that. */
static int header_put(unsigned char *header, const struct layout *layout,
                      const struct image_spec *spec, uint64_t *length, struct err *err)
{
    size_t name = spec->backing_file ? strlen(spec->backing_file) : 0;
    size_t format = spec->backing_file ? strlen(spec->backing_format) : 0;
    uint64_t room =
        layout->cluster_bytes < HEADER_BYTES_MAX ? layout->cluster_bytes : HEADER_BYTES_MAX;
    uint64_t needed = sizeof(struct qcow2_header_be) + EXTENSIONS_BYTES + name + format;
    if (name > QCOW2_BACKING_NAME_MAX || needed > room)
        return err_set(err, ErrOpenFileFailed, ENAMETOOLONG,
                       "the backing file's name does not fit into the header");
    uint64_t at = extensions_put(header, spec, needed + STAMP_BYTES <= room);
    assert(at + name <= room);
    const struct qcow2_header_be fields = header_fields(layout, spec, name, at);
    memcpy(header, &fields, sizeof(fields));
    memcpy(header + at, spec->backing_file ? spec->backing_file : "", name);
    *length = at + name;
    return 0;
}

static int header_write(int fd, const struct layout *layout, const struct image_spec *spec,
                        struct err *err)
{
    uint64_t length = 0;
    CLEANUP_FREE unsigned char *header = calloc(1, HEADER_BYTES_MAX);
    if (!header)
        return err_set(err, ErrOutOfResources, ENOMEM, "qcow2 image cannot be made");
    if (header_put(header, layout, spec, &length, err) != 0)
        return -1;
    int ret = file_write(fd, header, 0, length);
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "qcow2 image cannot be written") : 0;
}

/* Writes the refcount table, which follows the header, and the refcount blocks after it. 0 or
 * -errno. */
static int counts_write(int fd, const struct layout *layout, uint64_t used)
{
    const uint64_t first = 1 + layout->table_clusters;
    CLEANUP_FREE uint64_t *table = calloc(layout->blocks, sizeof(*table));
    CLEANUP_FREE uint16_t *counts = calloc(used, sizeof(*counts));
    if (!table || !counts)
        return -ENOMEM;
    for (uint64_t i = 0; i < layout->blocks; i++)
        table[i] = htobe64((first + i) * layout->cluster_bytes);
    for (uint64_t i = 0; i < used; i++)
        counts[i] = htobe16(1);
    int ret = file_write(fd, table, layout->cluster_bytes, layout->blocks * sizeof(*table));
    return ret ? ret
               : file_write(fd, counts, first * layout->cluster_bytes, used * sizeof(*counts));
}

int qcow2_create(int fd, const struct image_spec *spec, struct err *err)
{
    if (fd < 0)
        return (int)cluster_bytes_fitted(spec, spec->cluster_bytes);
    struct layout layout;
    if (layout_choose(&layout, spec, err) != 0 || header_write(fd, &layout, spec, err) != 0)
        return -1;
    uint64_t used = 1 + layout.table_clusters + layout.blocks + layout.l1_clusters;
    int ret = counts_write(fd, &layout, used);
    if (ret == 0 && ftruncate(fd, (off_t)(used * layout.cluster_bytes)) != 0)
        ret = -errno;
    if (ret == -ENOMEM)
        return err_set(err, ErrOutOfResources, ENOMEM, "qcow2 image cannot be made");
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "qcow2 image cannot be written") : 0;
}
