/* SPDX-License-Identifier: Apache-2.0
 *
 * See access.h. Permissions are one list of entries, whether the model has an ACL or only a mode:
 *
 *     USER_OBJ   the owner
 *     USER       a named user                        } only in an ACL
 *     GROUP_OBJ  the owning group
 *     GROUP      a named group                       }
 *     MASK       limit of USER, GROUP_OBJ and GROUP  }
 *     OTHER      everybody else
 *
 * This is also what the attribute system.posix_acl_access holds, after a version number,
 * little-endian (linux/posix_acl_xattr.h, acl(5)). The mode's group bits are those of MASK if there
 * is one.
 *
 * A process without privilege cannot chown. Then users change class: the model's owner, and the
 * members of its group, fall into GROUP_OBJ or OTHER of the new file, and the new group's members
 * leave OTHER. So that no user gains access, each class is narrowed to what its new members had:
 *
 *     the group is not copied   GROUP_OBJ = OTHER = GROUP_OBJ & OTHER
 *     the owner is not copied   everything but USER_OBJ &= USER_OBJ; USER_OBJ = rw
 *
 * Order: owner and group, while the mode is still 0600; then mode and ACL in one step.
 */
#include "block/image/access.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACCESS_XATTR "system.posix_acl_access"

/* Permissions of one class: bits r, w, x. */
#define PERMISSION_BITS 07U
#define READ_WRITE      06U

struct access {
    struct posix_acl_xattr_header *acl; /* as it is in the attribute; or NULL: only a mode */
    size_t acl_bytes, count;
    unsigned owner, group, other; /* USER_OBJ, GROUP_OBJ, OTHER */
    unsigned mask;                /* if there is an ACL, else all bits */
};

static struct posix_acl_xattr_entry *acl_entries(const struct access *access)
{
    return (struct posix_acl_xattr_entry *)(access->acl + 1);
}

/* The permissions of the class with that tag; NULL: a named user or group. */
static unsigned *access_class(struct access *access, unsigned tag)
{
    switch (tag) {
    case ACL_USER_OBJ:
        return &access->owner;
    case ACL_GROUP_OBJ:
        return &access->group;
    case ACL_MASK:
        return &access->mask;
    case ACL_OTHER:
        return &access->other;
    default:
        return NULL;
    }
}

/* 0, also if there is no ACL, or -errno. */
static int access_read_acl(struct access *access, int fd)
{
    ssize_t bytes = fgetxattr(fd, ACCESS_XATTR, NULL, 0);
    if (bytes < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
    CLEANUP_FREE struct posix_acl_xattr_header *acl = malloc((size_t)bytes + 1);
    if (!acl)
        return -ENOMEM;
    bytes = fgetxattr(fd, ACCESS_XATTR, acl, (size_t)bytes);
    if (bytes < 0)
        return errno == ENODATA ? 0 : -errno;
    const size_t list = (size_t)bytes - sizeof(*acl);
    if ((size_t)bytes < sizeof(*acl) || le32toh(acl->a_version) != POSIX_ACL_XATTR_VERSION ||
        list % sizeof(struct posix_acl_xattr_entry) != 0)
        return -EBADMSG;
    access->acl = steal(acl);
    access->acl_bytes = (size_t)bytes;
    access->count = list / sizeof(struct posix_acl_xattr_entry);
    for (size_t i = 0; i < access->count; i++) {
        const struct posix_acl_xattr_entry *entry = acl_entries(access) + i;
        unsigned *class = access_class(access, le16toh(entry->e_tag));
        if (class)
            *class = le16toh(entry->e_perm) & PERMISSION_BITS;
    }
    return 0;
}

/* Narrows the classes for an owner or group that could not be copied: see above. */
static void access_narrow(struct access *access, bool has_owner, bool has_group)
{
    if (!has_group)
        access->group = access->other = access->group & access->other;
    if (!has_owner) {
        access->group &= access->owner;
        access->other &= access->owner;
        access->mask &= access->owner;
        access->owner = READ_WRITE;
    }
}

/* Reduces the ACL to a mode under which no user gains access. */
static void access_drop_acl(struct access *access)
{
    unsigned common = access->mask;
    for (size_t i = 0; i < access->count; i++) {
        const struct posix_acl_xattr_entry *entry = acl_entries(access) + i;
        if (!access_class(access, le16toh(entry->e_tag)))
            common &= le16toh(entry->e_perm);
    }
    access->group &= common;
    access->other &= common;
    free(steal(access->acl));
}

static int access_write_acl(struct access *access, int fd)
{
    for (size_t i = 0; i < access->count; i++) {
        struct posix_acl_xattr_entry *entry = acl_entries(access) + i;
        const unsigned *class = access_class(access, le16toh(entry->e_tag));
        if (class)
            entry->e_perm = htole16((uint16_t) * class);
    }
    return fsetxattr(fd, ACCESS_XATTR, access->acl, access->acl_bytes, 0);
}

/* An ACL inherited from the directory is removed: the mode would widen its mask. */
static int access_write_mode(const struct access *access, int fd)
{
    if (fremovexattr(fd, ACCESS_XATTR) != 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return -1;
    return fchmod(fd, access->owner << 6 | access->group << 3 | access->other);
}

/* Whether everything was written; else errno, and permissions are narrower. */
static bool access_write(struct access *access, int fd)
{
    if (access->acl && access_write_acl(access, fd) == 0)
        return true;
    const bool had_acl = access->acl;
    const int acl_error = errno;
    if (had_acl)
        access_drop_acl(access);
    if (access_write_mode(access, fd) != 0)
        return false;
    errno = acl_error;
    return !had_acl;
}

/* Sets owner and group, or the group only, or neither, as permitted. */
static int access_give(int fd, const struct stat *model, struct stat *own)
{
    bool differs = model->st_uid != own->st_uid || model->st_gid != own->st_gid;
    if (differs && fchown(fd, model->st_uid, model->st_gid) != 0 &&
        fchown(fd, (uid_t)-1, model->st_gid) != 0)
        return 0;
    return fstat(fd, own);
}

static void access_put(int fd, const struct stat *model, struct access *access, const char *path)
{
    struct stat before, own;
    if (fstat(fd, &before) != 0 || (own = before, access_give(fd, model, &own)) != 0) {
        log_warning("'%s' keeps mode 0600: %s", path, strerror(errno));
        return;
    }
    const bool has_owner = own.st_uid == model->st_uid, has_group = own.st_gid == model->st_gid;
    access_narrow(access, has_owner, has_group);
    if (!access_write(access, fd)) {
        log_warning("'%s' lacks permissions of its backing file: %s", path, strerror(errno));
        /* With CAP_CHOWN alone, the daemon may have no access to it now. */
        if (errno == EPERM && fchown(fd, before.st_uid, before.st_gid) != 0)
            log_warning("the owner of '%s' cannot be restored: %s", path, strerror(errno));
    } else if (!has_owner || !has_group)
        log_info("'%s' lacks the %s of its backing file (not permitted), so its permissions are "
                 "narrower",
                 path,
                 has_owner   ? "group"
                 : has_group ? "owner"
                             : "owner and group");
}

int access_copy(int fd, int model_fd, const char *path, struct err *err)
{
    struct stat model;
    if (fstat(model_fd, &model) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "the permissions for '%s' cannot be read",
                       path);
    struct access access = {.owner = model.st_mode >> 6 & PERMISSION_BITS,
                            .group = model.st_mode >> 3 & PERMISSION_BITS,
                            .other = model.st_mode & PERMISSION_BITS,
                            .mask = PERMISSION_BITS};
    int ret = access_read_acl(&access, model_fd);
    if (ret)
        return err_set(err, ret == -ENOMEM ? ErrOutOfResources : ErrOpenFileFailed, -ret,
                       "the ACL for '%s' cannot be read", path);
    access_put(fd, &model, &access, path);
    free(access.acl);
    return 0;
}
