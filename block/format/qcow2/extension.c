/* SPDX-License-Identifier: Apache-2.0
 *
 * Header extensions: type, length, data padded to 8 bytes; one after the other from the end of the
 * header. Source: qcow2 specification, "Header extensions".
 */
#include "block/format/qcow2/extension.h"

#include <sys/stat.h>

int qcow2_extension_read(int fd, uint64_t *at, uint64_t limit, uint32_t *type, uint32_t *length)
{
    struct qcow2_extension_be extension;
    if (*at + sizeof(extension) > limit) {
        *type = QCOW2_EXTENSION_END;
        return 0;
    }
    int ret = file_read(fd, &extension, *at, sizeof(extension));
    *type = be32toh(extension.type);
    *length = be32toh(extension.length);
    *at += sizeof(extension);
    if (ret)
        return ret;
    return *type != QCOW2_EXTENSION_END && *length > limit - *at ? -EINVAL : 0;
}

unsigned char *qcow2_extension_data(int fd, uint64_t at, uint32_t length)
{
    unsigned char *data = calloc(1, (size_t)length + 1);
    if (data && file_read(fd, data, at, length) != 0) {
        free(data);
        return NULL;
    }
    return data;
}

int qcow2_group_id(int fd, unsigned char id[OWNER_ID_BYTES])
{
    struct qcow2_header_be h;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < QCOW2_HEADER_V3_BYTES)
        return -ENOENT; /* not an image that this daemon created */
    int ret = file_read(fd, &h, 0, QCOW2_HEADER_V3_BYTES);
    if (ret)
        return ret;
    if (be32toh(h.magic) != QCOW2_MAGIC || be32toh(h.version) != 3)
        return -ENOENT;
    uint32_t bits = be32toh(h.cluster_bits), type, length = 0;
    if (bits < 9 || bits > 21)
        return -ENOENT;
    uint64_t limit = 1ULL << bits, size = (uint64_t)st.st_size;
    limit = size < limit ? size : limit;
    for (uint64_t at = be32toh(h.header_length);; at = qcow2_extension_next(at, length)) {
        ret = qcow2_extension_read(fd, &at, limit, &type, &length);
        if (ret == -EINVAL || (ret == 0 && type == QCOW2_EXTENSION_END))
            return -ENOENT;
        if (ret)
            return ret;
        if (type == QCOW2_EXTENSION_GROUP_ID && length == OWNER_ID_BYTES)
            return file_read(fd, id, at, OWNER_ID_BYTES);
    }
}
