/* SPDX-License-Identifier: Apache-2.0
 *
 * See identity.h. statfs(2) gives ids of file systems, but what they are made of differs: those of
 * ext4 and btrfs are of the UUID in the superblock, that of XFS is the device number, which the
 * next mount may change, so XFS is asked for its UUID. For other file systems nothing is assumed.
 * FAT has no inodes, and what a FUSE file system makes of their numbers is its own business.
 */
#include "block/image/identity.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <xfs/xfs.h>

#define EXFAT_SUPER_MAGIC 0x2011BAB0 /* not in every linux/magic.h */
#define FUSE_SUPER_MAGIC  0x65735546

static uint64_t fold(const void *id, size_t bytes)
{
    uint64_t hash = 0;
    for (size_t at = 0; at + sizeof(hash) <= bytes; at += sizeof(hash)) {
        uint64_t word;
        memcpy(&word, (const char *)id + at, sizeof(word));
        hash ^= word;
    }
    return hash;
}

static int file_system_id(int fd, uint64_t *id, bool *has_inodes)
{
    struct statfs fs;
    struct xfs_fsop_geom geometry;
    *id = 0;
    *has_inodes = true;
    if (fstatfs(fd, &fs) != 0)
        return -errno;
    switch (fs.f_type) {
    case EXT4_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
        *id = fold(&fs.f_fsid, sizeof(fs.f_fsid));
        return 0;
    case XFS_SUPER_MAGIC:
        if (ioctl(fd, XFS_IOC_FSGEOMETRY, &geometry) != 0)
            return -errno;
        *id = fold(geometry.uuid, sizeof(geometry.uuid));
        return 0;
    case MSDOS_SUPER_MAGIC:
    case EXFAT_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
        *has_inodes = false;
        return 0;
    default:
        return 0;
    }
}

int identity_of(int fd, struct identity *identity)
{
    struct statx stx;
    uint64_t file_system;
    *identity = (struct identity){.is_lasting = false};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) != 0)
        return -errno;
    int ret = file_system_id(fd, &file_system, &identity->is_lasting);
    if (ret)
        return ret;
    uint64_t birth_ns = 0;
    identity->is_lasting = identity->is_lasting && (stx.stx_mask & STATX_BTIME);
    if (stx.stx_mask & STATX_BTIME)
        birth_ns = (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
    snprintf(identity->text, sizeof(identity->text), "%llx-%llx-%llx",
             (unsigned long long)stx.stx_ino, (unsigned long long)birth_ns,
             (unsigned long long)file_system);
    return 0;
}

bool identity_is_same(const struct identity *a, const struct identity *b)
{
    return *a->text && strcmp(a->text, b->text) == 0;
}

bool identity_is_alike(const struct identity *a, const struct identity *b)
{
    enum { STEPS_NS = 20000000 };
    unsigned long long birth_a, birth_b;
    if (identity_is_same(a, b))
        return true;
    if ((a->is_lasting && b->is_lasting) || sscanf(a->text, "%*x-%llx-", &birth_a) != 1 ||
        sscanf(b->text, "%*x-%llx-", &birth_b) != 1 || !birth_a || !birth_b)
        return false;
    return birth_a > birth_b ? birth_a - birth_b < STEPS_NS : birth_b - birth_a < STEPS_NS;
}

bool identity_is_same_file_system(const char *a, const char *b)
{
    const char *id_a = strrchr(a, '-'), *id_b = strrchr(b, '-');
    return id_a && id_b && strcmp(id_a, id_b) == 0;
}
