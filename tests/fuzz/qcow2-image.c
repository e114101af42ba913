/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: any bytes at all, opened as a qcow2 image. Whatever they are, opening, reading,
 * asking for extents, writing, zeroing, discarding and flushing must end soon, within the file and
 * within memory.
 *
 *     input --> file in memory, opened read-only: read and mapped; must be unchanged afterwards
 *          \--> another one, opened to write: requests drawn from a hash of the input; reopened
 *
 * An image whose header names a backing file gets a small raw one, whatever the name. Some of the
 * files are given a huge sparse tail, so that nothing trusts a file's length either.
 *
 * The mutator knows the format: it follows the header to the tables and puts values there that are
 * likely to hurt, so that most inputs pass the first checks. All numbers are big-endian, offsets
 * from the specification:
 *
 *     header  8 backing_file_offset   16 backing_file_size       20 cluster_bits
 *             24 size                 32 crypt_method            36 l1_size
 *             40 l1_table_offset      48 refcount_table_offset   56 refcount_table_clusters
 *             60 nb_snapshots         64 snapshots_offset        72 incompatible
 *             80 compatible           88 autoclear               96 refcount_order
 *             100 header_length       104 compression_type
 */
#include "tests/lib/fuzz.h"

#include "block/format/qcow2/driver-qcow2.h"
#include "block/format/raw.h"
#include "block/image/file-io.h"
#include "block/image/node.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum {
    PIECE_BYTES = 64 << 10,
    BACKING_BYTES = 96 << 10,
    QUERIES_MAX = 300,
    REQUESTS = 24,
    HEADER_BYTES = 112,
    MAGIC = 0x514649fb,
};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static struct node *backing;
static unsigned char piece[PIECE_BYTES];

static uint64_t load(const uint8_t *p, unsigned width)
{
    uint64_t value = 0;
    while (width--)
        value = value << 8 | *p++;
    return value;
}

static void put(uint8_t *p, unsigned width, uint64_t value)
{
    for (; width; value >>= 8)
        p[--width] = (uint8_t)value;
}

static int memory_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    MUST(fd >= 0 && file_write(fd, data, 0, size) == 0);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err err;
    struct rlimit limit = {.rlim_cur = 1ULL << 45, .rlim_max = 1ULL << 45};
    MUST(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    MUST(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    memset(piece, 0x5a, sizeof(piece));
    int fd = memory_file(piece, sizeof(piece));
    MUST(ftruncate(fd, BACKING_BYTES) == 0);
    backing = node_open(fd, "/backing", &driver_raw, true, NULL, &err);
    MUST(backing);
    return 0;
}

/* NULL if the image is refused, which is the driver's right. */
static struct node *image_open_bytes(int fd, const uint8_t *data, size_t size, bool read_only)
{
    struct err err;
    bool has_backing = size >= HEADER_BYTES && load(data + 8, 8) != 0;
    struct node *node =
        node_open(fd, "/image", &driver_qcow2, read_only, has_backing ? backing : NULL, &err);
    if (node)
        MUST(node->size_bytes % BLOCK_SECTOR_BYTES == 0);
    else
        MUST(err.code < ERR_CODE_COUNT && err.message[0]);
    return node;
}

static void image_read_at(struct node *node, uint64_t offset)
{
    if (offset >= node->size_bytes)
        return;
    uint64_t rest = node->size_bytes - offset;
    (void)node_read(node, piece, offset, rest < sizeof(piece) ? rest : sizeof(piece));
}

static void image_read(struct node *node, uint64_t *state)
{
    for (uint64_t offset = 0; offset < 8 * PIECE_BYTES; offset += PIECE_BYTES)
        image_read_at(node, offset);
    for (int i = 0; i < 4; i++)
        image_read_at(node, draw(state, node->size_bytes));
    if (node->size_bytes > PIECE_BYTES)
        image_read_at(node, node->size_bytes - PIECE_BYTES);
}

static void image_query(struct node *node)
{
    uint64_t offset = 0;
    for (int i = 0; i < QUERIES_MAX && offset < node->size_bytes; i++) {
        uint64_t asked = node->size_bytes - offset;
        struct extent extent = {.length = asked};
        if (node->driver->map(node, offset, MAP_HOLES, &extent) != 0)
            extent.length = PIECE_BYTES;
        else
            MUST(extent.length > 0 && extent.length <= asked);
        offset += extent.length;
    }
}

static void image_change(struct node *node, uint64_t *state)
{
    for (int i = 0; i < REQUESTS; i++) {
        uint64_t near = node->size_bytes < 512 << 10 ? node->size_bytes : 512 << 10;
        uint64_t offset = draw(state, draw(state, 8) ? near : node->size_bytes);
        uint64_t rest = node->size_bytes - offset, kind = draw(state, 16);
        uint64_t length = 1 + draw(state, 1ULL << draw(state, kind < 8 ? 16 : 19));
        if (length > rest)
            length = rest;
        if (kind < 8)
            (void)node_write(node, piece, offset, length < PIECE_BYTES ? length : PIECE_BYTES);
        else if (kind < 11)
            (void)node_zero(node, offset, length, kind & 1);
        else if (kind < 14)
            (void)node_discard(node, offset, length);
        else if (kind < 15)
            (void)node_flush(node);
        else
            image_read_at(node, offset);
    }
    (void)node_flush(node);
}

static void file_must_hold(int fd, const uint8_t *data, size_t size, off_t length)
{
    struct stat st;
    CLEANUP_FREE uint8_t *bytes = malloc(size);
    MUST(fstat(fd, &st) == 0 && st.st_size == length);
    MUST(bytes && file_read(fd, bytes, 0, size) == 0 && memcmp(bytes, data, size) == 0);
}

static void image_try_reading(const uint8_t *data, size_t size, uint64_t *state, off_t length)
{
    CLEANUP_CLOSE int fd = memory_file(data, size);
    MUST(ftruncate(fd, length) == 0);
    CLEANUP_CLOSE int other = dup(fd);
    struct node *node = image_open_bytes(other, data, size, true);
    if (!node)
        return;
    steal_fd(&other);
    image_query(node);
    image_read(node, state);
    node_unref(node);
    file_must_hold(fd, data, size, length);
}

static void image_try_writing(const uint8_t *data, size_t size, uint64_t *state, off_t length)
{
    CLEANUP_CLOSE int fd = memory_file(data, size);
    MUST(ftruncate(fd, length) == 0);
    CLEANUP_CLOSE int other = dup(fd);
    struct node *node = image_open_bytes(other, data, size, false);
    if (!node)
        return;
    steal_fd(&other);
    image_change(node, state);
    node_unref(node);
    CLEANUP_CLOSE int again = dup(fd);
    node = image_open_bytes(again, data, size, true);
    if (!node)
        return;
    steal_fd(&again);
    image_read_at(node, 0);
    image_query(node);
    node_unref(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t state = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < size; i++) /* FNV-1a */
        state = (state ^ data[i]) * 0x100000001b3ULL;
    if (size == 0)
        return 0;
    off_t length = (off_t)size;
    if (draw(&state, 16) == 0)
        length += (off_t)draw(&state, 1ULL << draw(&state, 44));
    image_try_reading(data, size, &state, length);
    image_try_writing(data, size, &state, length);
    return 0;
}

/* ---- the mutator ---- */

struct mutation {
    uint8_t *data;
    size_t size;
    uint64_t random;
    unsigned cluster_bits;
};

static uint64_t header_field(const struct mutation *m, size_t offset, unsigned width)
{
    return offset + width <= m->size ? load(m->data + offset, width) : 0;
}

/* A value that is likely to hurt where a number of `width` bytes stands at `offset`. */
static uint64_t hurtful(struct mutation *m, size_t offset, unsigned width)
{
    uint64_t *r = &m->random, old = load(m->data + offset, width);
    uint64_t cluster = 1ULL << m->cluster_bits, clusters = m->size / cluster + 2;
    uint64_t flags[] = {1ULL << 63, 1ULL << 62, 1, 3ULL << 62, 1ULL << 63 | 1, 0};
    switch (draw(r, 14)) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return UINT64_MAX >> draw(r, 64);
    case 3:
        return old + 1;
    case 4:
        return old - 1;
    case 5:
        return old ^ 1ULL << draw(r, 8 * width);
    case 6:
        return old * 2;
    case 7:
        return offset / cluster * cluster;
    case 8:
        return header_field(m, draw(r, 2) ? 40 : 48, 8);
    case 9:
        return (m->size + draw(r, 3) * cluster) / cluster * cluster;
    case 10:
        return 1ULL << 62 | draw(r, 1ULL << (61 - (m->cluster_bits - 8))) % (2 * m->size) |
               draw(r, 1ULL << (m->cluster_bits - 8)) << (62 - (m->cluster_bits - 8));
    case 11:
        return 1ULL << draw(r, 64);
    case 12:
        return draw(r, 512);
    default:
        return draw(r, clusters) * cluster | flags[draw(r, sizeof(flags) / sizeof(*flags))];
    }
}

static void mutate_number(struct mutation *m, uint64_t offset, unsigned width)
{
    if (offset < m->size && width <= m->size - offset)
        put(m->data + offset, width, hurtful(m, offset, width));
}

static void mutate_header(struct mutation *m)
{
    static const struct {
        uint8_t offset, width;
    } fields[] = {{4, 4},  {8, 8},  {16, 4}, {20, 4}, {24, 8},  {32, 4},
                  {36, 4}, {40, 8}, {48, 8}, {56, 4}, {60, 4},  {64, 8},
                  {72, 8}, {80, 8}, {88, 8}, {96, 4}, {100, 4}, {104, 1}};
    size_t i = draw(&m->random, sizeof(fields) / sizeof(*fields));
    if (fields[i].offset == 72 && draw(&m->random, 2))
        m->data[79] ^= (uint8_t)(1 << draw(&m->random, 5));
    else if (fields[i].offset == 20 && draw(&m->random, 4))
        put(m->data + 20, 4, 9 + draw(&m->random, 13));
    else if (fields[i].offset == 96 && draw(&m->random, 4))
        put(m->data + 96, 4, draw(&m->random, 7));
    else
        mutate_number(m, fields[i].offset, fields[i].width);
}

/* One of the first entries of the table at `table`, mostly. */
static uint64_t table_entry(struct mutation *m, uint64_t table, uint64_t entry_bytes)
{
    uint64_t limit = draw(&m->random, 4) ? 16 : (1ULL << m->cluster_bits) / 8;
    return table + draw(&m->random, limit) * entry_bytes;
}

static void mutate_mapping(struct mutation *m)
{
    const uint64_t offset_mask = 0x00fffffffffffe00ULL;
    uint64_t l1 = header_field(m, 40, 8);
    uint64_t l1_entry = l1 + draw(&m->random, 1 + header_field(m, 36, 4) % 64) * 8;
    if (draw(&m->random, 4) == 0) {
        mutate_number(m, l1_entry, 8);
        return;
    }
    if (l1_entry >= m->size || m->size - l1_entry < 8)
        return;
    uint64_t l2 = load(m->data + l1_entry, 8) & offset_mask;
    bool extended = header_field(m, 4, 4) == 3 && header_field(m, 79, 1) & 16;
    uint64_t l2_entry = table_entry(m, l2, extended ? 16 : 8);
    mutate_number(m, l2_entry + (extended && draw(&m->random, 2) ? 8 : 0), 8);
}

static void mutate_refcounts(struct mutation *m)
{
    uint64_t entry = table_entry(m, header_field(m, 48, 8), 8);
    if (draw(&m->random, 3) == 0) {
        mutate_number(m, entry, 8);
        return;
    }
    entry = header_field(m, 48, 8);
    if (entry < m->size && m->size - entry >= 8)
        mutate_number(m, load(m->data + entry, 8) + draw(&m->random, 128),
                      1U << draw(&m->random, 4));
}

/* Snapshot header: 0 l1_table_offset, 8 l1_size, 12 id length, 14 name length, 36 extra data
 * length. */
static void mutate_snapshots(struct mutation *m)
{
    static const uint8_t offsets[] = {0, 8, 12, 14, 36, 40, 48}, widths[] = {8, 4, 2, 2, 4, 8, 8};
    size_t i = draw(&m->random, sizeof(offsets));
    mutate_number(m, header_field(m, 64, 8) + offsets[i], widths[i]);
}

static void mutate_extensions(struct mutation *m)
{
    static const uint32_t types[] = {0,          0xe2792aca, 0x6803f857, 0x23852875,
                                     0x0537be77, 0x44415441, 0x12345678};
    uint64_t at = header_field(m, 4, 4) == 2 ? 72 : header_field(m, 100, 4);
    for (uint64_t skip = draw(&m->random, 4); skip && at + 16 < m->size; skip--)
        at += 8 + (header_field(m, at + 4, 4) + 7) / 8 * 8;
    if (at >= m->size || m->size - at < 16)
        return;
    uint64_t what = draw(&m->random, 3);
    if (what == 0)
        put(m->data + at, 4, types[draw(&m->random, sizeof(types) / sizeof(*types))]);
    else
        mutate_number(m, at + (what == 1 ? 4 : 8), 4);
}

/* Makes the file end somewhere else. */
static void mutate_length(struct mutation *m, size_t max_size)
{
    uint64_t cluster = 1ULL << m->cluster_bits;
    uint64_t size = draw(&m->random, 2) ? draw(&m->random, m->size + cluster)
                                        : draw(&m->random, m->size / cluster + 2) * cluster;
    if (size < HEADER_BYTES || size > max_size)
        return;
    if (size > m->size)
        memset(m->data + m->size, 0, size - m->size);
    m->size = size;
}

/* Copies one table entry over another: two references to one cluster. */
static void mutate_alias(struct mutation *m)
{
    uint64_t words = m->size / 8;
    uint64_t from = draw(&m->random, words) * 8, to = draw(&m->random, words) * 8;
    for (int i = 0; i < 200 && load(m->data + from, 8) == 0; i++)
        from = draw(&m->random, words) * 8;
    if (to >= 8)
        memmove(m->data + to, m->data + from, 8);
}

static void mutate_once(struct mutation *m, size_t max_size)
{
    uint64_t bits = header_field(m, 20, 4);
    m->cluster_bits = bits >= 9 && bits <= 21 ? (unsigned)bits : 9;
    switch (draw(&m->random, 16)) {
    case 0 ... 3:
        mutate_header(m);
        break;
    case 4 ... 8:
        mutate_mapping(m);
        break;
    case 9 ... 10:
        mutate_refcounts(m);
        break;
    case 11:
        mutate_snapshots(m);
        break;
    case 12:
        mutate_extensions(m);
        break;
    case 13:
        mutate_length(m, max_size);
        break;
    case 14:
        mutate_alias(m);
        break;
    default:
        m->size = LLVMFuzzerMutate(m->data, m->size, max_size);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct mutation m = {.data = data, .size = size, .random = seed};
    if (size < HEADER_BYTES || max_size < HEADER_BYTES)
        return LLVMFuzzerMutate(data, size, max_size);
    for (uint64_t count = 1 + draw(&m.random, 4); count; count--) {
        mutate_once(&m, max_size);
        if (m.size < HEADER_BYTES)
            return m.size;
    }
    put(data, 4, MAGIC);
    return m.size;
}
