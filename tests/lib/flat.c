/* SPDX-License-Identifier: Apache-2.0
 *
 * A flat reference disk: an array with the bytes that a chain of images must read as.
 */
#include "tests/lib/testlib.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20 };

struct flat *flat_new(uint64_t size_bytes)
{
    struct flat *flat = calloc(1, sizeof(*flat));
    assert_non_null(flat);
    flat->bytes = calloc(1, size_bytes);
    flat->size_bytes = size_bytes;
    assert_non_null(flat->bytes);
    return flat;
}

struct flat *flat_copy(const struct flat *from, uint64_t size_bytes)
{
    struct flat *flat = flat_new(size_bytes);
    memcpy(flat->bytes, from->bytes, size_bytes < from->size_bytes ? size_bytes : from->size_bytes);
    return flat;
}

struct flat *flat_load(const char *name)
{
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct flat *flat = flat_new((uint64_t)st.st_size);
    assert_int_equal(file_read(fd, flat->bytes, 0, flat->size_bytes), 0);
    return flat;
}

void flat_save(const struct flat *flat, const char *name)
{
    CLEANUP_FREE char *path = scratch_path(name);
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)flat->size_bytes), 0);
    for (uint64_t at = 0; at < flat->size_bytes; at += PIECE_BYTES) {
        uint64_t n = flat->size_bytes - at < PIECE_BYTES ? flat->size_bytes - at : PIECE_BYTES;
        if (!bytes_are_zero(flat->bytes + at, n))
            assert_int_equal(file_write(fd, flat->bytes + at, at, n), 0);
    }
}

void flat_free(struct flat *flat)
{
    if (flat)
        free(flat->bytes);
    free(flat);
}

uint64_t bytes_first_difference(const void *a, const void *b, uint64_t length)
{
    const unsigned char *x = a, *y = b;
    uint64_t i = 0;
    if (memcmp(x, y, length) == 0)
        return length;
    while (x[i] == y[i])
        i++;
    return i;
}

bool bytes_are_zero(const void *buf, uint64_t length)
{
    const unsigned char *p = buf;
    return !length || (p[0] == 0 && memcmp(p, p + 1, length - 1) == 0);
}

void failure_note(char failure[FAILURE_BYTES], unsigned thread, const char *verb, uint64_t offset,
                  int ret)
{
    if (!failure[0])
        snprintf(failure, FAILURE_BYTES, "thread %u: %s at %" PRIu64 ": %s", thread, verb, offset,
                 ret ? strerror(-ret) : "wrong bytes");
}

void flat_must_match_node(const struct flat *flat, struct node *node, const char *what)
{
    CLEANUP_FREE unsigned char *buf = malloc(PIECE_BYTES);
    assert_non_null(buf);
    if (node->size_bytes != flat->size_bytes)
        fail_msg("%s: %s has %" PRIu64 " bytes, not %" PRIu64, what, node->path, node->size_bytes,
                 flat->size_bytes);
    for (uint64_t at = 0; at < flat->size_bytes; at += PIECE_BYTES) {
        uint64_t n = flat->size_bytes - at < PIECE_BYTES ? flat->size_bytes - at : PIECE_BYTES;
        int ret = node_read(node, buf, at, n);
        if (ret)
            fail_msg("%s: reading %s at %" PRIu64 ": %s", what, node->path, at, strerror(-ret));
        uint64_t good = bytes_first_difference(buf, flat->bytes + at, n);
        if (good != n)
            fail_msg("%s: %s reads as 0x%02x at %" PRIu64 ", not 0x%02x", what, node->path,
                     buf[good], at + good, flat->bytes[at + good]);
    }
}

void flat_must_match_image(const struct flat *flat, const char *name, const char *format)
{
    flat_save(flat, "flat-compared.raw");
    shell("qemu-img compare -f %s -F raw %s flat-compared.raw", format, name);
    shell("rm flat-compared.raw");
}
