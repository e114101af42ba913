/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed clusters, read only: raw deflate with a 4 KiB window, or zstd.
 *
 *     L2 entry: 62 set | 61..x sectors of 512 bytes after the first | x-1..0 host offset
 *                                                               x = 62 - (cluster_bits - 8)
 *
 * The data may start anywhere and go on into the next host cluster; the last sector may pass the
 * end of the file.
 */
#include "block/format/qcow2/compressed.h"

#include <zlib.h>
#include <zstd.h>

void qcow2_compressed_range(const struct qcow2 *q, uint64_t word, uint64_t *offset,
                            uint64_t *length)
{
    uint32_t x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (word & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> x;
    *offset = word & ((1ULL << x) - 1);
    *length = (sectors + 1) * 512 - *offset % 512;
}

static int unpack_deflate(const unsigned char *packed, uint64_t length, unsigned char *buf,
                          uint64_t bytes)
{
    z_stream stream = {
        .next_in = (unsigned char *)packed,
        .avail_in = (uInt)length,
        .next_out = buf,
        .avail_out = (uInt)bytes,
    };
    if (inflateInit2(&stream, -12) != Z_OK)
        return -ENOMEM;
    int ret = inflate(&stream, Z_FINISH);
    bool is_whole =
        stream.avail_out == 0 && (ret == Z_STREAM_END || ret == Z_BUF_ERROR || ret == Z_OK);
    inflateEnd(&stream);
    return is_whole ? 0 : -EIO;
}

static int unpack_zstd(const unsigned char *packed, uint64_t length, unsigned char *buf,
                       uint64_t bytes)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        return -ENOMEM;
    ZSTD_inBuffer in = {packed, length, 0};
    ZSTD_outBuffer out = {buf, bytes, 0};
    size_t ret = 1;
    /* A cluster may be several frames; what follows the last one is padding. */
    while (out.pos < out.size && in.pos < in.size) {
        size_t in_before = in.pos, out_before = out.pos;
        ret = ZSTD_decompressStream(context, &out, &in);
        if (ZSTD_isError(ret) || (in.pos == in_before && out.pos == out_before))
            break;
    }
    ZSTD_freeDCtx(context);
    return !ZSTD_isError(ret) && out.pos == out.size ? 0 : -EIO;
}

int qcow2_compressed_read(const struct qcow2 *q, uint64_t word, unsigned char *buf)
{
    uint64_t offset, length, done = 0;
    qcow2_compressed_range(q, word, &offset, &length);
    CLEANUP_FREE unsigned char *packed = malloc(length);
    if (!packed)
        return -ENOMEM;
    while (done < length) {
        ssize_t n = pread(q->fd, packed + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break; /* only the last sector may be cut: the decoder finds out */
        done += (uint64_t)n;
    }
    return q->is_zstd ? unpack_zstd(packed, done, buf, q->cluster_bytes)
                      : unpack_deflate(packed, done, buf, q->cluster_bytes);
}
