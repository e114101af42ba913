/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2 images: created, filled, checked and read by QEMU's tools; headers read and changed by hand
 * (numbers are big-endian; offsets are those of QEMU's docs/interop/qcow2).
 *
 *     offset  bytes  field
 *     4       4      version
 *     8       8      backing_file_offset
 *     16      4      backing_file_size
 *     100     4      header_length (72 in version 2)
 *                    then the extensions: type 4, length 4, data, padding to 8; type 0 ends them;
 *                    then the backing file's name
 */
#include "tests/lib/testlib.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct image_options image_options_random(struct random *random, uint64_t cluster_bytes)
{
    struct image_options o = {.cluster_bytes = cluster_bytes, .refcount_bits = 16};
    if (!cluster_bytes)
        o.cluster_bytes = 512ULL << random_below(random, 13);
    o.version2 = random_chance(random, 15);
    if (o.version2)
        return o;
    o.refcount_bits = 1U << random_below(random, 7);
    o.extended_l2 = o.cluster_bytes >= 16384 && random_chance(random, 60);
    o.lazy_refcounts = random_chance(random, 25);
    o.zstd = random_chance(random, 40);
    return o;
}

const char *image_options_text(const struct image_options *o)
{
    static char text[200];
    int n = snprintf(text, sizeof(text), "cluster_size=%" PRIu64 ",compat=%s", o->cluster_bytes,
                     o->version2 ? "0.10" : "1.1");
    if (!o->version2)
        snprintf(text + n, sizeof(text) - (size_t)n,
                 ",refcount_bits=%u,extended_l2=%s,lazy_refcounts=%s,compression_type=%s",
                 o->refcount_bits, o->extended_l2 ? "on" : "off", o->lazy_refcounts ? "on" : "off",
                 o->zstd ? "zstd" : "zlib");
    return text;
}

void image_create(const char *name, const struct image_options *options, uint64_t size_bytes,
                  const char *backing, const char *backing_format)
{
    const char *text = image_options_text(options);
    if (backing)
        shell("qemu-img create -q -f qcow2 -o %s -b %s -F %s %s %" PRIu64, text, backing,
              backing_format, name, size_bytes);
    else
        shell("qemu-img create -q -f qcow2 -o %s %s %" PRIu64, text, name, size_bytes);
}

/* One qemu-io command on a random range, as an argument of its command line. */
static int fill_command(char *out, size_t room, uint64_t size_bytes, uint64_t cluster_bytes,
                        struct random *random)
{
    static const char *const verbs[] = {"write -P 201", "write -P 7", "write -P 90",
                                        "write -z",     "write -zu",  "discard"};
    uint64_t align = random_chance(random, 50) ? cluster_bytes : 512;
    uint64_t most = align == 512 ? 300 : 1 + size_bytes / cluster_bytes / 8;
    uint64_t offset = random_below(random, size_bytes) / align * align;
    uint64_t length = random_between(random, 1, most) * align;
    if (length > 512 * 1024)
        length = cluster_bytes > 512 * 1024 ? cluster_bytes : 512 * 1024;
    if (length > size_bytes - offset)
        length = size_bytes - offset;
    return snprintf(out, room, " -c '%s %" PRIu64 " %" PRIu64 "'", verbs[random_below(random, 6)],
                    offset, length);
}

/* Compressed clusters. QEMU refuses one where a plain cluster is already, which is no failure here.
 */
static void fill_compressed(const char *name, uint64_t size_bytes, uint64_t cluster_bytes,
                            struct random *random)
{
    char commands[12 * 64];
    size_t used = 0;
    uint64_t clusters = size_bytes / cluster_bytes;
    for (int i = 0; i < 12 && clusters; i++)
        used += (size_t)snprintf(commands + used, sizeof(commands) - used,
                                 " -c 'write -c -P %u %" PRIu64 " %" PRIu64 "'",
                                 (unsigned)random_between(random, 1, 255),
                                 random_below(random, clusters) * cluster_bytes, cluster_bytes);
    if (clusters)
        shell_status("qemu-io -f qcow2%s %s", commands, name);
}

void image_fill(const char *name, uint64_t size_bytes, uint64_t cluster_bytes,
                struct random *random)
{
    char commands[30 * 64];
    size_t used = 0;
    fill_compressed(name, size_bytes, cluster_bytes, random);
    for (int i = 0; i < 30; i++)
        used += (size_t)fill_command(commands + used, sizeof(commands) - used, size_bytes,
                                     cluster_bytes, random);
    shell("qemu-io -f qcow2 -d unmap%s %s", commands, name);
}

bool image_snapshot(const char *name, const char *snapshot)
{
    if (shell_status("cp %s probe && qemu-img snapshot -c %s probe", name, snapshot) != 0)
        return false;
    shell("rm probe && qemu-img snapshot -c %s %s", snapshot, name);
    return true;
}

struct flat *image_truth(const char *name, const char *format)
{
    shell("qemu-img convert -f %s -O raw %s truth.raw", format, name);
    struct flat *flat = flat_load("truth.raw");
    shell("rm truth.raw");
    return flat;
}

void image_must_be_clean(const char *name)
{
    shell("qemu-img check -f qcow2 %s", name);
}

uint64_t image_peek(const char *name, uint64_t offset, unsigned width)
{
    unsigned char bytes[8];
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_read(fd, bytes, offset, width), 0);
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

void image_poke(const char *name, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned char bytes[8];
    for (unsigned i = width; i-- > 0; value >>= 8)
        bytes[i] = (unsigned char)value;
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(file_write(fd, bytes, offset, width), 0);
}

static uint64_t extensions_offset(const char *name)
{
    return image_peek(name, 4, 4) == 2 ? 72 : image_peek(name, 100, 4);
}

uint64_t image_extension(const char *name, uint32_t type, uint32_t *length)
{
    uint64_t at = extensions_offset(name);
    for (;;) {
        uint32_t found = (uint32_t)image_peek(name, at, 4);
        *length = (uint32_t)image_peek(name, at + 4, 4);
        if (found == type)
            return at + 8;
        if (!found)
            return 0;
        at += 8 + (*length + 7) / 8 * 8;
    }
}

void image_extension_insert(const char *name, uint32_t type, const void *data, uint32_t length)
{
    unsigned char tail[4096] = {0};
    uint64_t at = extensions_offset(name), step = 8 + (length + 7) / 8 * 8;
    uint64_t cluster_bytes = 1ULL << image_peek(name, 20, 4);
    uint64_t backing_offset = image_peek(name, 8, 8);
    uint64_t tail_bytes = cluster_bytes - at - step;
    if (tail_bytes > sizeof(tail))
        tail_bytes = sizeof(tail);
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(file_read(fd, tail, at, tail_bytes), 0);
    assert_int_equal(file_write(fd, tail, at + step, tail_bytes), 0);
    unsigned char zeros[1024] = {0};
    assert_true(step <= sizeof(zeros));
    assert_int_equal(file_write(fd, zeros, at, step), 0);
    assert_int_equal(file_write(fd, data, at + 8, length), 0);
    image_poke(name, at, 4, type);
    image_poke(name, at + 4, 4, length);
    if (backing_offset)
        image_poke(name, 8, 8, backing_offset + step);
}
